"""Many environments in worker processes, with observations in shared memory.

Each worker holds several slots, and each slot one environment. Commands go through a pipe and are
answered in order; pictures and states are written to memory that both sides see. OpenGL is set up
inside the worker, because a context does not survive a fork. A worker ends when its pipe closes,
and as soon as its parent ends in any way, also in the middle of a step.
"""

import ctypes
import multiprocessing
import signal
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from eyehand.child_process import end_with_parent, without_interrupt
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.slots import Command, Reply, Slots, SlotVector, WorkerDeathError, arrays


class VectorEnv(SlotVector):
    """Environments in worker processes of this machine.

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

    def __init__(
        self,
        make: Callable[..., RobotEnv],
        *,
        slots: int,
        workers: int,
        cameras: Mapping[str, int],
        state_dim: int,
    ) -> None:
        super().__init__(slots=slots, workers=workers, cameras=cameras)
        # Not fork: torch and OpenGL have threads, and locks that those hold stay locked in a fork.
        context = multiprocessing.get_context("spawn")
        # RawArray has no name in the file system, so nothing is left of it even after a kill.
        images = {
            camera: context.RawArray(ctypes.c_uint8, slots * size * size * 3)
            for camera, size in cameras.items()
        }
        states = context.RawArray(ctypes.c_float, slots * state_dim)
        self.image, self.state = arrays(images, states, slots)
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        self._shut_down = weakref.finalize(self, _shut_down, self._connections, self._processes)
        with without_interrupt():
            for _ in range(self.workers):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(theirs, images, states, slots, make), daemon=True
                )
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)

    def receive(self, timeout: float | None = None) -> list[Reply]:
        """Return the answers that are there; see `SlotVector.receive`."""
        replies: list[Reply] = []
        ready = wait(self._connections, timeout)
        for worker, connection in enumerate(self._connections):
            while connection in ready and connection.poll():
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    raise self._dead(worker) from None
                replies.append(self._reply(answer))
        return replies

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self._shut_down()

    def _send(self, slot: int, command: Command) -> None:
        worker = slot % self.workers
        try:
            self._connections[worker].send(command)
        except OSError:
            raise self._dead(worker) from None

    def _dead(self, worker: int) -> WorkerDeathError:
        process = self._processes[worker]
        process.join(timeout=5)
        code = process.exitcode
        if code is not None and code < 0:
            cause = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                cause += " (the machine may be out of memory)"
        else:
            cause = f"ended with exit code {code}"
        return self._death(worker, cause)


def _shut_down(connections: list[Connection], processes: list[Any]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.join(timeout=3)
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    connection: Connection,
    images: Mapping[str, Any],
    states: Any,
    slots: int,
    make: Callable[..., RobotEnv],
) -> None:
    """Serve a worker's slots until the pipe closes."""
    end_with_parent()
    held = Slots(images, states, slots, make)
    with suppress(EOFError, OSError):  # the parent closed the pipe, or is gone
        while True:
            connection.send(held.answer(connection.recv()))
    for environment in held.environments.values():
        environment.close()
