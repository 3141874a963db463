"""The live robot in a process of its own, which is started again when it dies.

A simulator is a C library on top of a graphics driver, and a fault in either ends the process. The
page's server must survive that, so the robot has its own process and exchanges messages with it.
"""

import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eyehand.envs.suite import find_suite
from eyehand.evaluation.latency import StageTimer
from eyehand.evaluation.rerun_recording import RerunRecording
from eyehand.live.robot import LivePolicy, Robot, Take
from eyehand.types import Actor, InputError

FRAMES_PER_SECOND = 20
"""Pictures a second while the robot runs."""
PATIENCE = 1.0
"""Seconds before a robot that died is started again."""


@dataclass(frozen=True)
class Shown:
    """The robot at one moment, for the pages."""

    frame: dict[str, Any]
    pictures: tuple[bytes, bytes]
    """The picture that the policy reads and the one for people, as JPEG."""


@dataclass(frozen=True)
class Note:
    """A sentence for the visitors."""

    text: str
    error: bool


def run_robot(
    pipe: Connection,
    make_policy: Callable[[], tuple[Actor, LivePolicy, StageTimer]],
    suite: str,
    task: str,
    seed: int,
    rerun: Path | None,
) -> None:
    """Run a robot until the pipe is closed: the function that the process runs.

    It reads commands (maps, see :meth:`Robot.do`) and ``"take"``, and sends `Shown`, `Note`, and
    the `Take` that was asked for. If ``rerun`` is given, every step is recorded there too.
    """
    policy, described, timer = make_policy()
    family = find_suite(suite)
    with RerunRecording(rerun, family) if rerun else nullcontext() as recording:
        robot = Robot(
            family, policy, described, timer=timer, task=task, seed=seed, recording=recording
        )
        try:
            _show(robot, pipe, fps=family.fps)
        except (EOFError, OSError, KeyboardInterrupt):
            pass  # the server has closed the pipe
        finally:
            robot.close()


def _show(robot: Robot, pipe: Connection, *, fps: int) -> None:
    """Read commands, move the robot and send pictures, until the pipe is closed."""
    due, measured, shown = time.monotonic(), 0.0, deque[float](maxlen=FRAMES_PER_SECOND)
    changed = True
    while True:
        wait = max(0.0, due - time.monotonic()) if robot.running else 0.25
        if changed:
            wait = 0.0
        while pipe.poll(wait):
            wait = 0.0
            changed = _handle(robot, pipe, pipe.recv()) or changed
            due = time.monotonic()
        if robot.running and time.monotonic() >= due:
            steps = max(1, round(robot.speed * fps / FRAMES_PER_SECOND))
            due = max(due + steps / (robot.speed * fps), time.monotonic())
            _advance(pipe, robot, steps)
            changed = True
        if changed:
            if robot.running:
                shown.append(time.monotonic())
                if len(shown) > 1:
                    measured = (len(shown) - 1) / (shown[-1] - shown[0])
            else:
                shown.clear()  # the rate is measured while the robot runs
            frame = robot.frame() | {"measured": round(measured, 1)}
            pipe.send(Shown(frame, robot.pictures()))
            changed = False


def _handle(robot: Robot, pipe: Connection, command: Any) -> bool:
    """Do one command; return whether the robot has changed."""
    if command == "take":
        pipe.send(robot.take)
        return False
    try:
        robot.do(command)
    except InputError as error:
        pipe.send(Note(str(error), error=True))
        return False
    return True


def _advance(pipe: Connection, robot: Robot, steps: int) -> None:
    try:
        robot.advance(steps)
    except InputError as error:
        robot.running = False
        pipe.send(Note(str(error), error=True))


class Worker:
    """Starts the robot's process, starts it again when it dies, and passes its messages on.

    Args:
        make_policy: Makes the policy in the robot's process.
        suite: Name of the family of tasks.
        task: The first task.
        seed: Its start state.
        rerun: File for a recording; each time the robot has died, the next file is numbered.
        on_message: Called, in a thread, with every `Shown`, `Note` and `Take`.
    """

    def __init__(
        self,
        make_policy: Callable[[], tuple[Actor, LivePolicy, StageTimer]],
        *,
        suite: str,
        task: str,
        seed: int,
        rerun: Path | None = None,
        on_message: Callable[[Shown | Note | Take], object],
    ) -> None:
        self._make_policy, self._on_message = make_policy, on_message
        self._suite, self._last = suite, {"task": task, "seed": seed}
        self._rerun, self._deaths = rerun, 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._pipe: Connection | None = None
        self.process: Any = None
        """The robot's process; None before it is started."""
        self._thread = threading.Thread(target=self._keep_alive, name="robot", daemon=True)
        self._thread.start()

    def send(self, command: Mapping[str, Any] | str) -> None:
        """Send the robot a command; while there is no robot, the command is lost."""
        with self._lock:
            if self._pipe is not None:
                with suppress(OSError):  # it has just died: the thread reports it
                    self._pipe.send(command)

    def close(self) -> None:
        """End the robot's process."""
        self._closing.set()
        if self.process is not None:
            self.process.terminate()
        self._thread.join(timeout=5)

    def _keep_alive(self) -> None:
        # spawn: a GL context and torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        while not self._closing.is_set():
            pipe, far = context.Pipe()
            rerun = self._rerun
            if rerun is not None and self._deaths:
                rerun = rerun.with_stem(f"{rerun.stem}-{self._deaths}")
            self.process = context.Process(
                target=run_robot,
                args=(far, self._make_policy, self._suite, *self._last.values(), rerun),
                daemon=True,
            )
            self.process.start()
            far.close()
            with self._lock:
                self._pipe = pipe
            self._pass_on(pipe)
            with self._lock:
                self._pipe = None
            pipe.close()
            self.process.join()
            if not self._closing.is_set():
                self._deaths += 1
                code = self.process.exitcode
                text = f"The robot's process died (exit code {code}) and is started again."
                self._on_message(Note(text, error=True))
                self._closing.wait(PATIENCE)

    def _pass_on(self, pipe: Connection) -> None:
        """Pass the robot's messages on until its process ends."""
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                return
            if isinstance(message, Shown):
                self._last = {name: message.frame[name] for name in ("task", "seed")}
            self._on_message(message)
