"""Many environments in worker processes, with observations in shared memory.

Each worker holds several slots, and each slot one environment. Commands go through a pipe and are
answered in order; pictures and states are written to memory that both sides see. OpenGL is set up
inside the worker, because a context does not survive a fork. A worker ends when its pipe closes,
and as soon as its parent ends in any way, also in the middle of a step.
"""

import ctypes
import math
import multiprocessing
import signal
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from eyehand.child_process import end_with_parent, without_interrupt
from eyehand.envs.robot_env import Chained, RobotEnv
from eyehand.types import InputError


class WorkerError(RuntimeError):
    """A worker process failed or was killed; the message says which, at what task, and why."""


class WorkerDeathError(WorkerError, InputError):
    """A worker process has gone without a word: no fault of the program, so one sentence is enough.

    The system may have ended it for want of memory, or somebody killed it.
    """


@dataclass(frozen=True)
class Reply:
    """A slot's answer to a command. Its pictures and state are in ``VectorEnv``'s arrays."""

    slot: int
    """The slot that the command went to."""
    reward: tuple[float, ...] = ()
    """Reward of every action that was executed; none after a reset or a new task."""
    terminated: bool = False
    """Whether the task is over, solved or failed."""
    truncated: bool = False
    """Whether the time is over and the task is not."""
    success: bool = False
    """Whether one of these actions solved the task."""

    @property
    def steps(self) -> int:
        """How many actions were executed; 0 after a reset."""
        return len(self.reward)

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


class VectorEnv:
    """Environments in worker processes; slot ``i`` lives in worker ``i % workers``.

    ``reset``, ``begin_task`` and ``step`` only send; ``receive`` waits for answers. A slot takes
    one command at a time, and its picture and state may be read between the answer and the next
    command. Use it as a context manager, so that the workers are gone afterwards.

    Args:
        make: Makes the environment of a task, as `eyehand.envs.suite.Suite.make` does. It is called
            in the worker, so it is a function or class that can be imported by name.
        slots: Number of environments, at least 1.
        workers: Number of processes, at least 1; no more than ``slots`` are started.
        cameras: Height and width of the pictures, pixels, by camera.
        state_dim: Length of the state.

    Raises:
        InputError: If ``slots``, ``workers`` or a picture's size is below 1.
    """

    image: dict[str, UInt8[np.ndarray, "slot height width 3"]]
    """The last picture of each slot, by camera."""
    state: Float32[np.ndarray, "slot state"]
    """The last state of each slot."""

    def __init__(
        self,
        make: Callable[..., RobotEnv],
        *,
        slots: int,
        workers: int,
        cameras: Mapping[str, int],
        state_dim: int,
    ) -> None:
        sizes = [(f"pixels of {camera}", size) for camera, size in cameras.items()]
        for name, value in (("environments", slots), ("workers", workers), *sizes):
            if value < 1:
                raise InputError(f"`{name}` must be at least 1. Got {value}.")
        # Not fork: torch and OpenGL have threads, and locks that those hold stay locked in a fork.
        context = multiprocessing.get_context("spawn")
        # RawArray has no name in the file system, so nothing is left of it even after a kill.
        images = {
            camera: context.RawArray(ctypes.c_uint8, slots * size * size * 3)
            for camera, size in cameras.items()
        }
        states = context.RawArray(ctypes.c_float, slots * state_dim)
        self.image, self.state = _arrays(images, states, slots)
        self._doing = ["nothing yet"] * slots
        self._busy: set[int] = set()
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        self._shut_down = weakref.finalize(self, _shut_down, self._connections, self._processes)
        with without_interrupt():
            for _ in range(min(workers, slots)):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(theirs, images, states, slots, make), daemon=True
                )
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)

    def __enter__(self) -> "VectorEnv":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, also after an error."""
        self.close()

    def reset(self, slot: int, task: str, seed: int) -> None:
        """Send: begin the episode of a seed, and draw its first pictures.

        Raises:
            WorkerDeathError: If the worker is dead.
        """
        self._doing[slot] = f"{task!r} (seed {seed})"
        self._send(slot, ("reset", slot, task, seed))

    def begin_task(self, slot: int, task: str) -> None:
        """Send: another task begins in the world as it is; its picture is the last one.

        Raises:
            WorkerDeathError: If the worker is dead.
        """
        self._doing[slot] += f", then {task!r}"
        self._send(slot, ("begin_task", slot, task))

    def step(self, slot: int, actions: Float32[np.ndarray, "time action"]) -> None:
        """Send: execute actions until the episode ends, and draw the pictures after the last.

        Raises:
            WorkerDeathError: If the worker is dead.
        """
        self._send(slot, ("step", slot, actions))

    def receive(self, timeout: float | None = None) -> list[Reply]:
        """Return the answers that are there, waiting for the first.

        Args:
            timeout: Longest time to wait, seconds; 0 takes what is there, ``None`` waits.

        Raises:
            InputError: If what was sent cannot be used, such as a task that does not exist.
            WorkerError: If a worker failed.
            WorkerDeathError: If a worker died.
        """
        replies: list[Reply] = []
        ready = wait(self._connections, timeout)
        for worker, connection in enumerate(self._connections):
            while connection in ready and connection.poll():
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    raise self._death(worker) from None
                if isinstance(answer, InputError):
                    raise answer
                if not isinstance(answer, Reply):
                    slot, text = answer
                    raise WorkerError(
                        f"the simulator of {self._doing[slot]} failed in worker {worker}:\n{text}"
                    )
                self._busy.discard(answer.slot)
                replies.append(answer)
        return replies

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self._shut_down()

    def _send(self, slot: int, command: tuple[Any, ...]) -> None:
        if slot in self._busy:
            raise RuntimeError(f"slot {slot} has not answered its last command yet.")
        worker = slot % len(self._connections)
        try:
            self._connections[worker].send(command)
        except OSError:
            raise self._death(worker) from None
        self._busy.add(slot)

    def _death(self, worker: int) -> WorkerDeathError:
        process = self._processes[worker]
        process.join(timeout=5)
        code = process.exitcode
        if code is not None and code < 0:
            cause = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                cause += " (the machine may be out of memory)"
        else:
            cause = f"ended with exit code {code}"
        slots = sorted(slot for slot in self._busy if slot % len(self._processes) == worker)
        doing = ", ".join(self._doing[slot] for slot in slots) or "nothing"
        return WorkerDeathError(
            f"simulator worker {worker} {cause} while it worked on {doing}: start again, with "
            "fewer workers if memory is short; what is finished is kept."
        )


def _arrays(
    images: Mapping[str, Any], states: Any, slots: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    shown = {}
    for camera, memory in images.items():
        size = math.isqrt(len(memory) // (3 * slots))
        shown[camera] = np.frombuffer(memory, np.uint8).reshape(slots, size, size, 3)
    return shown, np.frombuffer(states, np.float32).reshape(slots, -1)


def _shut_down(connections: list[Connection], processes: list[Any]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.join(timeout=3)
        if process.is_alive():
            process.kill()
            process.join()


class _Slots:
    """The slots of one worker: their environments, and the memory that they are shown in."""

    def __init__(
        self, images: Mapping[str, Any], states: Any, slots: int, make: Callable[..., RobotEnv]
    ) -> None:
        self.image, self.state = _arrays(images, states, slots)
        self.make = make
        self.environments: dict[int, RobotEnv] = {}
        self.made_for: dict[int, str] = {}

    def reset(self, slot: int, task: str, seed: int) -> Reply:
        if slot in self.environments and self.made_for[slot] != task:
            self.environments.pop(slot).close()
        if slot not in self.environments:
            cameras = {camera: shown.shape[1] for camera, shown in self.image.items()}
            self.environments[slot] = self.make(task, cameras=cameras, render_observations=False)
            self.made_for[slot] = task
        if self.environments[slot].task != task:  # a chain ended there with another one
            self.begin_task(slot, task)
        self._show(slot, self.environments[slot].reset(seed=seed)[0])
        return Reply(slot)

    def begin_task(self, slot: int, task: str) -> Reply:
        environment = self.environments[slot]
        if not isinstance(environment, Chained):
            raise InputError(
                f"the world of {environment.task!r} cannot go on with {task!r}: its environment "
                "has no `begin_task`."
            )
        environment.begin_task(task)
        return Reply(slot)

    def step(self, slot: int, actions: np.ndarray) -> Reply:
        rewards, success, terminated, truncated = [], False, False, False
        for action in actions:
            observation, reward, terminated, truncated, info = self.environments[slot].step(action)
            rewards.append(float(reward))
            success = success or bool(info["success"])
            if terminated or truncated:
                break
        self._show(slot, observation)
        return Reply(slot, tuple(rewards), terminated, truncated, success)

    def _show(self, slot: int, observation: Mapping[str, Any]) -> None:
        self.state[slot] = observation["state"]
        for camera, picture in self.environments[slot].pictures().items():
            self.image[camera][slot] = picture


def _work(
    connection: Connection,
    images: Mapping[str, Any],
    states: Any,
    slots: int,
    make: Callable[..., RobotEnv],
) -> None:
    """Serve a worker's slots until the pipe closes."""
    end_with_parent()
    held = _Slots(images, states, slots, make)
    commands: dict[str, Callable[..., Reply]] = {
        "reset": held.reset,
        "begin_task": held.begin_task,
        "step": held.step,
    }
    with suppress(EOFError, OSError):  # the parent closed the pipe, or is gone
        while True:
            name, slot, *arguments = connection.recv()
            try:
                answer: Reply | InputError | tuple[int, str] = commands[name](slot, *arguments)
            except InputError as error:
                answer = error
            except Exception:  # sent to the parent with its traceback
                answer = slot, traceback.format_exc()
            connection.send(answer)
    for environment in held.environments.values():
        environment.close()
