"""Slots: numbered places for environments, as their user and as their worker see them.

What is here is the same for processes of this machine (`eyehand.envs.vector`) and for actors of a
Ray cluster (`eyehand.envs.ray_workers`): the commands, the answers, and what executes them.
"""

import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

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
    """A slot's answer to a command. Its pictures and state are in ``SlotVector``'s arrays."""

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


Command = tuple[Any, ...]
"""``(name, slot, *arguments)``, where the name is that of a method of `Slots`."""
Answer = Reply | InputError | tuple[int, str]
"""What comes of a command; for an error of the program its slot and its traceback."""


class SlotVector(ABC):
    """Environments in workers; slot ``i`` lives in worker ``i % workers``.

    ``reset``, ``begin_task`` and ``step`` only send; ``receive`` waits for answers. A slot takes
    one command at a time, and its picture and state may be read between the answer and the next
    command. Use it as a context manager, so that the workers are gone afterwards.

    Args:
        slots: Number of environments, at least 1.
        workers: Number of workers, at least 1; no more than ``slots`` are started.
        cameras: Height and width of the pictures, pixels, by camera.

    Raises:
        InputError: If ``slots``, ``workers`` or a picture's size is below 1.
    """

    image: dict[str, UInt8[np.ndarray, "slot height width 3"]]
    """The last picture of each slot, by camera."""
    state: Float32[np.ndarray, "slot state"]
    """The last state of each slot."""

    def __init__(self, *, slots: int, workers: int, cameras: Mapping[str, int]) -> None:
        sizes = [(f"pixels of {camera}", size) for camera, size in cameras.items()]
        for name, value in (("environments", slots), ("workers", workers), *sizes):
            if value < 1:
                raise InputError(f"`{name}` must be at least 1. Got {value}.")
        self.slots, self.workers = slots, min(workers, slots)
        self._doing = ["nothing yet"] * slots
        self._busy: set[int] = set()

    def __enter__(self) -> "SlotVector":
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
        self._command("reset", slot, task, seed)

    def begin_task(self, slot: int, task: str) -> None:
        """Send: another task begins in the world as it is; its picture is the last one.

        Raises:
            WorkerDeathError: If the worker is dead.
        """
        self._doing[slot] += f", then {task!r}"
        self._command("begin_task", slot, task)

    def step(self, slot: int, actions: Float32[np.ndarray, "time action"]) -> None:
        """Send: execute actions until the episode ends, and draw the pictures after the last.

        Raises:
            WorkerDeathError: If the worker is dead.
        """
        self._command("step", slot, actions)

    @abstractmethod
    def receive(self, timeout: float | None = None) -> list[Reply]:
        """Return the answers that are there, waiting for the first.

        Args:
            timeout: Longest time to wait, seconds; 0 takes what is there, ``None`` waits.

        Raises:
            InputError: If what was sent cannot be used, such as a task that does not exist.
            WorkerError: If a worker failed.
            WorkerDeathError: If a worker died.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers; a second call does nothing."""

    @abstractmethod
    def _send(self, slot: int, command: Command) -> None:
        """Send a command to the worker of a slot."""

    def _command(self, name: str, slot: int, *arguments: Any) -> None:
        if slot in self._busy:
            raise RuntimeError(f"slot {slot} has not answered its last command yet.")
        self._send(slot, (name, slot, *arguments))
        self._busy.add(slot)

    def _reply(self, answer: Answer) -> Reply:
        """Return the answer of a slot that is free now, or raise what it says."""
        if isinstance(answer, InputError):
            raise answer
        if not isinstance(answer, Reply):
            slot, text = answer
            raise WorkerError(
                f"the simulator of {self._doing[slot]} failed in worker {slot % self.workers}:\n"
                f"{text}"
            )
        self._busy.discard(answer.slot)
        return answer

    def _death(self, worker: int, cause: str) -> WorkerDeathError:
        """Return the error of a worker that died."""
        slots = sorted(slot for slot in self._busy if slot % self.workers == worker)
        doing = ", ".join(self._doing[slot] for slot in slots) or "nothing"
        return WorkerDeathError(
            f"simulator worker {worker} {cause} while it worked on {doing}: start again, with "
            "fewer workers if memory is short; what is finished is kept."
        )


def arrays(
    images: Mapping[str, Any], states: Any, slots: int
) -> tuple[dict[str, UInt8[np.ndarray, "slot height width 3"]], Float32[np.ndarray, "slot state"]]:
    """Return buffers of pictures, by camera, and of states as arrays that share their memory."""
    shown = {}
    for camera, memory in images.items():
        size = math.isqrt(len(memory) // (3 * slots))
        shown[camera] = np.frombuffer(memory, np.uint8).reshape(slots, size, size, 3)
    return shown, np.frombuffer(states, np.float32).reshape(slots, -1)


class Slots:
    """The slots of one worker: their environments, and the memory that they are shown in.

    Args:
        images: A buffer for the pictures of all slots, bytes, by camera.
        states: A buffer for the states of all slots, float32.
        slots: Number of all slots; the worker holds some of them.
        make: As of `eyehand.envs.suite.Suite.make`.
    """

    def __init__(
        self, images: Mapping[str, Any], states: Any, slots: int, make: Callable[..., RobotEnv]
    ) -> None:
        self.image, self.state = arrays(images, states, slots)
        self.make = make
        self.environments: dict[int, RobotEnv] = {}
        self.made_for: dict[int, str] = {}

    def answer(self, command: Command) -> Answer:
        """Execute a command; what it raises is returned, because its user is in another process."""
        name, slot, *arguments = command
        try:
            reply: Reply = getattr(self, name)(slot, *arguments)
            return reply
        except InputError as error:
            return error
        except Exception:
            return slot, traceback.format_exc()

    def reset(self, slot: int, task: str, seed: int) -> Reply:
        """Begin the episode of a seed, in the environment of the task."""
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
        """Begin another task in the world as it is.

        Raises:
            InputError: If the environment cannot.
        """
        environment = self.environments[slot]
        if not isinstance(environment, Chained):
            raise InputError(
                f"the world of {environment.task!r} cannot go on with {task!r}: its environment "
                "has no `begin_task`."
            )
        environment.begin_task(task)
        return Reply(slot)

    def step(self, slot: int, actions: Float32[np.ndarray, "time action"]) -> Reply:
        """Execute actions until the episode ends, and show what is seen after the last."""
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
