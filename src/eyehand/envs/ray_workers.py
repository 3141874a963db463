"""Workers in a Ray cluster: simulators as actors, and any function as tasks.

A cluster may be many machines; one of this machine alone starts when it is asked for. A process
of it that dies is replaced, and what it did is done again: a simulator's episode is replayed from
its seed and actions, which gives the same state to the bit, and a function is called again.

Whoever reaches the ports of a cluster and has its token can run any code there, and Ray 2.60
listens on every network interface, even when it is told 127.0.0.1. So nothing here starts it
unless it is asked for, and never without a token. Ray is imported when it is first needed.
"""

import os
import secrets
import socket
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np

from eyehand.available_memory import check_workers
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.slots import Answer, Command, Reply, Slots, SlotVector, arrays
from eyehand.types import InputError

DEATHS = 3
"""Processes in a row that may die of the same work; then the fault is the work's."""
INSTALL_RAY = 'pip install "eyehand[ray]"'
"""What brings Ray."""


def connect(address: str, workers: int) -> Any:
    """Return the module of Ray, connected to a cluster; later calls keep the first connection.

    Args:
        address: ``HOST:PORT`` of a cluster that this machine is a node of; or ``auto``: that of the
            variable RAY_ADDRESS, and without it a new cluster of this machine alone, which ends
            with this process.
        workers: Processes that are to run at the same time, a processor each.

    Raises:
        InputError: If Ray is not installed, no cluster answers, or it has too few processors.
    """
    # Ray's own processes read these, and this process reads them when it imports Ray. The last one
    # lets workers see the graphics cards, as local ones do.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A task that is ended for want of memory counts apart, and would be tried again for ever.
    os.environ.setdefault("RAY_task_oom_retries", str(DEATHS - 1))
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs Ray: {INSTALL_RAY}.") from error
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "auto":
            address = os.environ.get("RAY_ADDRESS", "local")
        if address == "local":
            check_workers(workers)
            # Where no mode is set, Ray 2.60 switches tokens on. It would keep one of its own making
            # in the home folder; this one is known to this process and its children only.
            os.environ.pop("RAY_AUTH_MODE", None)
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            _check_listener(address)
            try:
                ray.init(address, **quiet)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
                why = " ".join(str(error).split())  # another version of Python or Ray, or no token
                raise InputError(
                    f"the Ray cluster at {address} does not let this process in ({why:.300}); with "
                    "a token it needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
                ) from error
    processors = ray.cluster_resources().get("CPU", 0)
    if workers > processors:
        raise InputError(
            f"--workers {workers} needs as many processors, and the Ray cluster has "
            f"{processors:g}: choose a smaller number."
        )
    return ray


def _check_listener(address: str) -> None:
    """Raise an `InputError` where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address!r} ({error}): --ray takes auto or HOST:PORT."
        ) from error


class RayVectorEnv(SlotVector):
    """Environments in actors of a Ray cluster.

    An actor that dies is replaced, and the episodes in its slots are replayed on the new one: the
    caller sees a delay and no other difference. What the old one may still answer is not read.

    Args:
        make: Makes the environment of a task, as `eyehand.envs.suite.Suite.make` does. It is called
            in the actor, so it is a function or class that every machine can import by name.
        slots: Number of environments, at least 1.
        workers: Number of actors, at least 1; no more than ``slots`` are started.
        cameras: Height and width of the pictures, pixels, by camera.
        state_dim: Length of the state.
        address: The cluster, as of `connect`.

    Raises:
        InputError: If ``slots``, ``workers`` or a picture's size is below 1; or as of `connect`.
    """

    def __init__(
        self,
        make: Callable[..., RobotEnv],
        *,
        slots: int,
        workers: int,
        cameras: Mapping[str, int],
        state_dim: int,
        address: str,
    ) -> None:
        super().__init__(slots=slots, workers=workers, cameras=cameras)
        self._ray = connect(address, workers)  # more than slots: later ones may need them
        self.image, self.state = arrays(*_memory(slots, cameras, state_dim), slots)
        actor = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(_Actor)
        self._start = partial(actor.remote, make, slots, cameras, state_dim)
        self._actors = [self._start() for _ in range(self.workers)]
        self._shut_down = weakref.finalize(self, _kill, self._ray, self._actors)
        self._awaited: dict[Any, int] = {}  # what Ray will answer, to the slot that it is for
        self._history: list[list[Command]] = [[] for _ in range(slots)]
        self._deaths = [0] * slots

    def receive(self, timeout: float | None = None) -> list[Reply]:
        """Return the answers that are there; see `SlotVector.receive`.

        Raises:
            WorkerDeathError: If `DEATHS` actors in a row died of the same command.
        """
        replies: list[Reply] = []
        while self._awaited and not replies:
            awaited = list(self._awaited)
            self._ray.wait(awaited, timeout=timeout)
            for answer in self._ray.wait(awaited, num_returns=len(awaited), timeout=0)[0]:
                if answer in self._awaited:  # else its actor died, and another one is asked
                    replies += self._take(answer)
            if timeout is not None:
                break
        return replies

    def close(self) -> None:
        """End the actors; a second call does nothing."""
        self._shut_down()

    def _send(self, slot: int, command: Command) -> None:
        if command[0] == "reset":
            self._history[slot] = []
        self._history[slot].append(command)
        self._awaited[self._actors[slot % self.workers].run.remote([command])] = slot

    def _take(self, awaited: Any) -> list[Reply]:
        """Return the reply that has come, or none where its actor died and is replaced."""
        slot = self._awaited[awaited]
        try:
            answer, pictures, state = self._ray.get(awaited)
        except self._ray.exceptions.RayError as error:
            self._replace(slot % self.workers, error)
            return []
        del self._awaited[awaited]
        self._deaths[slot] = 0
        self.state[slot] = state
        for camera, picture in pictures.items():
            self.image[camera][slot] = picture
        return [self._reply(answer)]

    def _replace(self, worker: int, error: Exception) -> None:
        """Start another actor for one that died, and replay there what its slots did."""
        self._ray.kill(self._actors[worker])  # it may only be out of reach
        for slot in self._busy:
            self._deaths[slot] += slot % self.workers == worker
            if self._deaths[slot] >= DEATHS:
                why = str(error).partition("\n")[0]
                raise self._death(worker, f"died {DEATHS} times ({why:.300})")
        self._actors[worker] = self._start()
        kept = {one: slot for one, slot in self._awaited.items() if slot % self.workers != worker}
        self._awaited = kept
        for slot in range(worker, self.slots, self.workers):
            if self._history[slot]:
                answer = self._actors[worker].run.remote(self._history[slot])
                if slot in self._busy:
                    self._awaited[answer] = slot


class RayExecutor(Executor):
    """Runs functions as tasks of a Ray cluster, a process and a processor each.

    A task whose process dies is run again, and the first result is the result. After `DEATHS`
    deaths its future raises `BrokenProcessPool`, as that of a pool of processes does.

    Args:
        address: The cluster, as of `connect`.
        workers: Tasks that are submitted at the same time; a cluster with fewer processors is
            refused.
        initializer: Called in every process before its first task.
        initargs: Its arguments.

    Raises:
        InputError: As of `connect`.
    """

    def __init__(
        self,
        address: str,
        *,
        workers: int,
        initializer: Callable[..., object],
        initargs: tuple[Any, ...],
    ) -> None:
        self._ray = connect(address, workers)
        task = self._ray.remote(num_cpus=1, max_retries=DEATHS - 1, scheduling_strategy="SPREAD")
        self._run = partial(task(_run).remote, uuid4().hex, initializer, initargs)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function, one that every machine can import by name; return its future result."""
        awaited, future = self._run(function, args, kwargs), Future[Any]()
        self._running[future] = awaited
        awaited.future().add_done_callback(partial(self._finish, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all tasks that are not finished, unless they are waited for."""
        for future, awaited in list(self._running.items()):
            if cancel_futures or not wait:
                self._ray.cancel(awaited, force=True)
            else:
                future.exception()

    def _finish(self, future: Future[Any], answer: Future[Any]) -> None:
        del self._running[future]
        error: Any = answer.exception()
        if error is None:
            future.set_result(answer.result())
        elif isinstance(error, self._ray.exceptions.RayTaskError):
            # It prints as the traceback there; of an `InputError` the sentence is enough.
            cause = error.cause
            future.set_exception(cause if isinstance(cause, InputError) else error)
        else:
            future.set_exception(BrokenProcessPool(str(error)))


class _Actor:
    """The slots of one worker, in a process of the cluster."""

    def __init__(
        self, make: Callable[..., RobotEnv], slots: int, cameras: Mapping[str, int], state_dim: int
    ) -> None:
        self.held = Slots(*_memory(slots, cameras, state_dim), slots, make)

    def run(self, commands: list[Command]) -> tuple[Answer, dict[str, np.ndarray], np.ndarray]:
        """Execute a slot's commands; return the last one's answer, pictures and state."""
        slot = commands[0][1]
        for name, _, *arguments in commands:
            # Ray's arrays cannot be written to; those that come through a pipe can.
            whole = [np.array(one) if isinstance(one, np.ndarray) else one for one in arguments]
            answer = self.held.answer((name, slot, *whole))
            if not isinstance(answer, Reply):
                break
        shown = {camera: pictures[slot] for camera, pictures in self.held.image.items()}
        return answer, shown, self.held.state[slot]


def _memory(
    slots: int, cameras: Mapping[str, int], state_dim: int
) -> tuple[dict[str, bytearray], bytearray]:
    """Return memory for the pictures of all slots, by camera, and for their states."""
    images = {camera: bytearray(slots * size * size * 3) for camera, size in cameras.items()}
    return images, bytearray(4 * slots * state_dim)


def _run(
    executor: str,
    initializer: Callable[..., object],
    initargs: tuple[Any, ...],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function, in a process that may have worked for another executor before."""
    global _prepared_for
    if _prepared_for != executor:
        initializer(*initargs)
        _prepared_for = executor
    return function(*args, **kwargs)


_prepared_for = ""
"""The executor whose initializer was called last in this process."""


def _kill(ray: Any, actors: list[Any]) -> None:
    if ray.is_initialized():
        for actor in actors:
            ray.kill(actor)
