"""The robot's process: it does commands, reports what it cannot do, and is started again."""

import multiprocessing
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.evaluation.latency import StageTimer
from eyehand.live import worker as worker_module
from eyehand.live.robot import LivePolicy, Robot, Take
from eyehand.live.worker import (
    BUSY,
    MOST_WAITING,
    NO_ROBOT,
    READY,
    TAKE,
    Note,
    Shown,
    Worker,
    run_robot,
)
from eyehand.types import InputError, Observation

WAIT = 20.0
"""Longest wait for a message on a busy machine, seconds."""


class Still(nn.Module):
    """Plans to stay where it is; told "fail" it plans what is not finite."""

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        value = torch.nan if observation.instruction[0] == "fail" else 0.0
        return torch.full((1, 4, 2), value)

    def reset(self, env_ids: Sequence[int]) -> None:
        pass


def make_policy() -> tuple[Still, LivePolicy, StageTimer]:
    timer = StageTimer(eyes=nn.Identity(), head=nn.Identity())
    return Still(), LivePolicy("still", {"top": 16}, horizon=4, executed=2), timer


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The page's end of a robot that runs in a thread."""
    monkeypatch.setattr(worker_module, "end_with_parent", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    arguments = (theirs, make_policy, "two-ways", "two-ways", 3, None)
    thread = threading.Thread(target=run_robot, args=arguments)
    thread.start()
    yield ours
    ours.close()
    thread.join(WAIT)
    assert not thread.is_alive(), "a robot without a page ends"


def receive(pipe: Connection, kind: type) -> Any:
    while pipe.poll(WAIT):
        message = pipe.recv()
        if isinstance(message, kind):
            return message
    raise AssertionError(f"no {kind.__name__} came")


def test_a_command_is_done_and_shown(pipe: Connection) -> None:
    assert receive(pipe, Shown).frame["step"] == 0
    pipe.send({"do": "step"})
    shown = receive(pipe, Shown)
    assert (shown.frame["step"], shown.frame["seed"]) == (2, 3)
    assert all(picture.startswith(b"\xff\xd8") for picture in shown.pictures)  # JPEG
    pipe.send(TAKE)
    assert len(receive(pipe, Take).actions) == 2


def test_what_cannot_be_done_is_a_note_and_the_robot_stays(pipe: Connection) -> None:
    pipe.send({"do": "dance"})
    assert receive(pipe, Note) == Note("the robot has no command 'dance'.", error=True)
    pipe.send({"do": "say", "sentence": "fail"})
    pipe.send({"do": "run"})
    note = receive(pipe, Note)
    assert "not finite" in note.text
    assert "The robot is paused." in note.text
    pipe.send({"do": "say", "sentence": "go on"})
    pipe.send({"do": "step"})
    while receive(pipe, Shown).frame["step"] != 2:
        pass


def test_pictures_come_while_commands_do_not_end(
    pipe: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(pipe, Shown)
    monkeypatch.setattr(Robot, "do", lambda self, command: time.sleep(0.02))
    for _ in range(20):
        pipe.send({"do": "reset"})
    kinds: list[type] = []
    while kinds.count(str) < 20:
        assert pipe.poll(WAIT)
        kinds.append(type(pipe.recv()))
    assert kinds.count(Shown) >= 2


def test_a_robot_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise InputError("model.safetensors is damaged.")

    monkeypatch.setattr(worker_module, "end_with_parent", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    with pytest.raises(SystemExit):
        run_robot(theirs, broken, "two-ways", "two-ways", 3, None)
    assert receive(ours, Note) == Note("model.safetensors is damaged.", error=True)


class ThreadContext:
    """Processes that are threads; a process has its own copy of its end of the pipe."""

    Pipe = staticmethod(multiprocessing.Pipe)

    class Process:
        exitcode = 7

        def __init__(self, *, target: Callable[..., None], args: Any, daemon: bool) -> None:
            def run() -> None:
                target(Connection(os.dup(self.pipe.fileno())), *args[1:])
                self.kill()

            self.thread = threading.Thread(target=run, daemon=daemon)
            self.start, self.join = self.thread.start, self.thread.join
            self.pipe = socket.socket(fileno=os.dup(args[0].fileno()))

        def kill(self) -> None:
            with suppress(OSError), self.pipe:  # it may be closed already
                self.pipe.shutdown(socket.SHUT_RDWR)


Work = Callable[[Connection, tuple[Any, ...]], None]


@pytest.fixture
def make_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., tuple[Worker, "queue.Queue[Any]"]]]:
    """Make a worker whose robot is a function, which runs in a thread; pauses are short."""
    made: list[Worker] = []

    def make(run: Work, rerun: Path | None = None) -> tuple[Worker, "queue.Queue[Any]"]:
        monkeypatch.setattr(worker_module, "run_robot", lambda pipe, _, *start: run(pipe, start))
        said: queue.Queue[Any] = queue.Queue()
        arguments = {"suite": "two-ways", "task": "two-ways", "seed": 3, "rerun": rerun}
        made.append(Worker(make_policy, **arguments, on_message=said.put))
        return made[-1], said

    monkeypatch.setattr(worker_module.multiprocessing, "get_context", lambda _: ThreadContext)
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    monkeypatch.setattr(worker_module, "LONGEST_PATIENCE", 0.05)
    yield make
    for worker in made:
        worker.close()


def test_a_robot_that_dies_is_started_again_where_it_was(make_worker: Any, tmp_path: Path) -> None:
    started: list[tuple[Any, ...]] = []
    again = threading.Event()

    def die_at_once(pipe: Connection, start: tuple[Any, ...]) -> None:
        started.append(start)
        if len(started) == 1:
            pipe.send(Shown({"task": "reach", "seed": 5}, (b"", b"")))
        else:
            again.set()
            idle(pipe)

    file = tmp_path / "seen.rrd"
    _, said = make_worker(die_at_once, file)
    assert again.wait(WAIT)
    assert started == [
        ("two-ways", "two-ways", 3, file),
        ("two-ways", "reach", 5, tmp_path / "seen-1.rrd"),
    ]
    assert isinstance(said.get(timeout=WAIT), Shown)
    assert said.get(timeout=WAIT).text == (
        "The robot's process died (exit code 7) and is started again."
    )


def idle(pipe: Connection) -> None:
    """Say nothing, until the worker closes."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        return


def test_a_robot_that_cannot_start_is_tried_less_and_less_often(make_worker: Any) -> None:
    started: list[tuple[Any, ...]] = []

    def fail_to_start(pipe: Connection, start: tuple[Any, ...]) -> None:
        started.append(start[1:3])
        for number, shown in ((1, ("reach", 5)), (2, ("push", 6))):
            if len(started) == number:
                pipe.send(Shown(dict(zip(("task", "seed"), shown, strict=True)), (b"", b"")))

    _, said = make_worker(fail_to_start)
    notes: list[Note] = []
    while len(notes) < 6:
        message = said.get(timeout=WAIT)
        notes += [message] if isinstance(message, Note) else []
    # the last episode that was shown, and where that cannot start, the first one
    assert started[:5] == [
        ("two-ways", 3), ("reach", 5), ("push", 6), ("reach", 5), ("reach", 5),
    ]  # fmt: skip
    assert "started again." in notes[1].text
    assert "as it started (attempt 1)" in notes[2].text
    assert "as it started (attempt 4)" in notes[5].text
    assert all(note.until_shown for note in notes)


def test_a_robot_that_hangs_is_started_again(
    make_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LONGEST_START", 0.1)
    monkeypatch.setattr(worker_module, "LONGEST_SILENCE", 0.05)
    started: list[object] = []

    def hang(pipe: Connection, start: object) -> None:
        started.append(start)
        if len(started) == 3:
            pipe.send(Shown({"task": "reach", "seed": 5}, (b"", b"")))
        idle(pipe)

    _, said = make_worker(hang)
    for attempt in (1, 2):
        text = f"said nothing for 0 s as it started (attempt {attempt})"
        assert text in said.get(timeout=WAIT).text
    assert isinstance(said.get(timeout=WAIT), Shown)
    assert "said nothing for 0 s and is started again" in said.get(timeout=WAIT).text


def test_a_flood_of_commands_never_blocks_and_only_the_newest_start_waits(make_worker: Any) -> None:
    done: list[Any] = []
    go_on, started = threading.Event(), threading.Event()

    def be_slow(pipe: Connection, start: tuple[Any, ...]) -> None:
        pipe.send(READY)
        done.append(pipe.recv())
        started.set()
        go_on.wait(WAIT)
        while True:
            try:
                pipe.send(READY)
                done.append(pipe.recv())
            except (EOFError, OSError):
                return

    worker, _ = make_worker(be_slow)
    answers: list[str] = []

    def flood() -> None:
        answers.append(send({"do": "pause"}))
        assert started.wait(WAIT)
        for seed in range(1000):
            answers.append(worker.send({"do": "start", "seed": seed, "more": "x" * 10_000}))
        answers.extend(worker.send({"do": "hand", "keys": []}) for _ in range(100))

    def send(command: dict[str, Any]) -> str:
        while worker.send(command) == NO_ROBOT:
            time.sleep(0.01)
        return ""

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    flooding.join(WAIT)
    assert not flooding.is_alive(), "a command blocks"
    assert answers[:2] == ["", ""]
    assert set(answers[2:1001]) == {"the robot is busy: this start replaces an earlier one."}
    assert answers[1001:] == [""] * (MOST_WAITING - 1) + [BUSY] * (101 - MOST_WAITING)
    go_on.set()
    while len(done) < 1 + MOST_WAITING:
        time.sleep(0.01)
    assert [command["do"] for command in done] == ["pause", "start"] + ["hand"] * (MOST_WAITING - 1)
    assert done[1]["seed"] == 999
    worker.close()
    assert worker.send({"do": "run"}) == NO_ROBOT
