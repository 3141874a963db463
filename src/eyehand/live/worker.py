"""The live robot in a process of its own, which is started again when it dies or hangs.

A simulator is a C library on top of a graphics driver, and a fault in either ends the process. The
page's server must survive that, so the robot has its own process and exchanges messages with it.
The robot gets one command at a time; the others wait on the server's side, where they are few.
"""

import math
import multiprocessing
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eyehand.child_process import end_with_parent, without_interrupt
from eyehand.envs.suite import find_suite
from eyehand.evaluation.latency import StageTimer
from eyehand.evaluation.rerun_recording import RerunRecording
from eyehand.live.robot import LivePolicy, Robot, Take
from eyehand.types import Actor, InputError

FRAMES_PER_SECOND = 20
"""Pictures a second while the robot runs."""
PATIENCE = 1.0
"""Seconds before a robot that died is started again; twice as many after every failed start."""
LONGEST_PATIENCE = 60.0
"""Seconds before a robot is started again, at most."""
LONGEST_START = 600.0
"""Seconds that a robot may take for its first picture, also on a busy machine."""
LONGEST_SILENCE = 120.0
"""Seconds after which a robot that says nothing more is taken for hanging."""
EXIT_SECONDS = 10.0
"""Seconds that a robot's process may take to end, once it is silent for good."""
MOST_WAITING = 32
"""Most commands that wait for the robot; more are refused."""
NEWEST_COUNTS = ("start", "reset", "look", "take")
"""Commands that take long: of each, only the newest waits."""
NO_ROBOT = "there is no robot at present: it is being started."
BUSY = f"not done: the robot is busy, and {MOST_WAITING} commands wait for it."
LOST = (NO_ROBOT, BUSY)
"""What `Worker.send` returns of a command that will not be done."""
TAKE: Mapping[str, Any] = {"do": "take"}
"""The command that the robot answers by its episode."""
READY = "ready"
"""What the robot says after every command, and while it has nothing to do."""


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
    until_shown: bool = False
    """Whether it holds until the next picture, so that new visitors must read it too."""


def run_robot(
    pipe: Connection,
    make_policy: Callable[[], tuple[Actor, LivePolicy, StageTimer]],
    suite: str,
    task: str,
    seed: int,
    rerun: Path | None,
) -> None:
    """Run a robot until the pipe is closed: the function that the process runs.

    It reads commands (see :meth:`Robot.do`) and `TAKE`, and sends `Shown`, `Note`, `READY`, and the
    `Take` that was asked for. If ``rerun`` is given, every step is recorded there too.
    """
    end_with_parent()
    family = find_suite(suite)
    with ExitStack() as stack:
        try:
            policy, described, timer = make_policy()
            recording = stack.enter_context(RerunRecording(rerun, family)) if rerun else None
            robot = Robot(
                family, policy, described, timer=timer, task=task, seed=seed, recording=recording
            )
        except InputError as error:
            pipe.send(Note(str(error), error=True))
            sys.exit(2)
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
        until = math.inf  # commands may come without an end: a picture is due nevertheless
        while pipe.poll(wait):
            until = min(until, time.monotonic() + 1 / FRAMES_PER_SECOND)
            wait = 0.0
            changed = _handle(robot, pipe, pipe.recv()) or changed
            pipe.send(READY)
            due = time.monotonic()
            if due > until:
                break
        if robot.running and time.monotonic() >= due:
            steps = max(1, round(robot.speed * fps / FRAMES_PER_SECOND))
            due = max(due + steps / (robot.speed * fps), time.monotonic())
            if not _is_done(pipe, partial(robot.advance, steps)):
                robot.running = False
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
        else:
            pipe.send(READY)


def _handle(robot: Robot, pipe: Connection, command: Mapping[str, Any]) -> bool:
    """Do one command; return whether the robot has changed."""
    if command == TAKE:
        pipe.send(robot.take)
        return False
    return _is_done(pipe, partial(robot.do, command))


def _is_done(pipe: Connection, action: Callable[[], None]) -> bool:
    """Let the robot act; where it cannot, say why and return False."""
    try:
        action()
    except InputError as error:
        pipe.send(Note(str(error), error=True))
        return False
    return True


class Worker:
    """Starts the robot's process, starts it again when it dies, and passes its messages on.

    The first episode is that of ``task`` and ``seed``. ``rerun`` names a file for a recording; each
    time the robot has died, the next file is numbered. ``on_message`` is called, in a thread, with
    every `Shown`, `Note` and `Take`. A robot that cannot start is tried again after longer and
    longer pauses, with the first episode that worked.
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
        self._suite, self._rerun = suite, rerun
        self._episode = {"task": task, "seed": seed}
        self._worked: dict[str, Any] | None = None
        """The first episode that was shown."""
        self._deaths = self._failed_starts = 0
        self._waiting: list[Mapping[str, Any]] = []
        self._changed = threading.Condition()
        """Guards the commands that wait, the pipe, and whether the robot is ready."""
        self._pipe: Connection | None = None
        self._ready = False
        self._closing = threading.Event()
        self.process: Any = None
        """The robot's process; None before it is started."""
        self._threads = [
            threading.Thread(target=target, name=f"robot: {target.__name__}", daemon=True)
            for target in (self._keep_alive, self._send_commands)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, command: Mapping[str, Any]) -> str:
        """Let a command wait for the robot; this never blocks.

        Returns:
            Why the command is not done, or what it replaces; empty if there is nothing to say.
        """
        what = command.get("do")
        with self._changed:
            if self._pipe is None:
                return NO_ROBOT
            others = [one for one in self._waiting if one.get("do") != what]
            replaces = what in NEWEST_COUNTS and len(others) < len(self._waiting)
            if replaces:
                self._waiting = others
            if len(self._waiting) >= MOST_WAITING:
                return BUSY
            self._waiting.append(command)
            self._changed.notify_all()
        return f"the robot is busy: this {what} replaces an earlier one." if replaces else ""

    def close(self) -> None:
        """End the robot's process."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            if self.process is not None:
                self.process.kill()  # SIGTERM would wait for a process that is stopped
        for thread in self._threads:
            thread.join(timeout=5)

    def _keep_alive(self) -> None:
        # spawn: a GL context and torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        while not self._closing.is_set():
            pipe, far = context.Pipe()
            rerun = self._rerun
            if rerun is not None and self._deaths:
                rerun = rerun.with_stem(f"{rerun.stem}-{self._deaths}")
            process = context.Process(
                target=run_robot,
                args=(far, self._make_policy, self._suite, *self._episode.values(), rerun),
                daemon=True,
            )
            with self._changed:
                if self._closing.is_set():
                    return
                with without_interrupt():
                    process.start()
                self.process, self._pipe = process, pipe
                self._failed_starts += 1  # until its first picture comes
            far.close()
            what = self._pass_on(pipe)
            with self._changed:
                self._pipe, self._ready = None, False
                self._waiting.clear()
            if not what:
                process.join(EXIT_SECONDS)
            process.kill()
            process.join()
            if not self._closing.is_set():
                self._mourn(what or f"died (exit code {process.exitcode})")

    def _mourn(self, what: str) -> None:
        """Tell the pages what happened to the robot, and wait before it is started again."""
        self._deaths += 1
        text, pause = f"The robot's process {what} and is started again.", PATIENCE
        if self._failed_starts:
            self._episode = self._worked or self._episode
            pause = min(PATIENCE * 2 ** min(self._failed_starts, 9), LONGEST_PATIENCE)
            text = (
                f"The robot's process {what} as it started (attempt {self._failed_starts}) and is "
                f"started again in {pause:.0f} s."
            )
        self._on_message(Note(text, error=True, until_shown=True))
        self._closing.wait(pause)

    def _pass_on(self, pipe: Connection) -> str:
        """Pass the robot's messages on until its process ends; return what is wrong otherwise."""
        while True:
            longest = LONGEST_START if self._failed_starts else LONGEST_SILENCE
            try:
                if not pipe.poll(longest):
                    return f"said nothing for {longest:.0f} s"
                message = pipe.recv()
            except (EOFError, OSError):
                return ""
            if isinstance(message, Shown):
                self._failed_starts = 0
                self._episode = {name: message.frame[name] for name in ("task", "seed")}
                self._worked = self._worked or self._episode
            if message == READY:
                with self._changed:
                    self._ready = True
                    self._changed.notify_all()
            else:
                self._on_message(message)

    def _send_commands(self) -> None:
        """Send the robot one command after the other, each when it is ready for it."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing.is_set() or (self._ready and self._waiting)
                )
                if self._closing.is_set():
                    return
                pipe, command = self._pipe, self._waiting.pop(0)
                self._ready = False
            assert pipe is not None  # else nothing waits
            with suppress(OSError):  # it has just died, which is reported elsewhere
                pipe.send(command)
