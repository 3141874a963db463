"""The robot's process: it does commands, reports what it cannot do, and is started again."""

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.evaluation.latency import StageTimer
from eyehand.live import worker as worker_module
from eyehand.live.robot import LivePolicy, Take
from eyehand.live.worker import Note, Shown, Worker, run_robot
from eyehand.types import Observation

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
def pipe() -> Iterator[Connection]:
    """The page's end of a robot that runs in a thread."""
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
    pipe.send("take")
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


class ThreadContext:
    """Processes that are threads; a process has its own copy of its end of the pipe."""

    Pipe = staticmethod(multiprocessing.Pipe)

    class Process:
        exitcode = 7

        def __init__(self, *, target: Callable[..., None], args: Any, daemon: bool) -> None:
            copy = Connection(os.dup(args[0].fileno()))
            self.thread = threading.Thread(target=target, args=(copy, *args[1:]), daemon=daemon)
            self.start, self.join, self.terminate = self.thread.start, self.thread.join, object


def test_a_robot_that_dies_is_started_again_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[Any, ...]] = []

    def die_at_once(pipe: Connection, make: object, *start: Any) -> None:
        started.append(start)
        if len(started) == 1:
            pipe.send(Shown({"task": "reach", "seed": 5}, (b"", b"")))
        else:
            worker._closing.set()
        pipe.close()

    monkeypatch.setattr(worker_module.multiprocessing, "get_context", lambda _: ThreadContext)
    monkeypatch.setattr(worker_module, "run_robot", die_at_once)
    monkeypatch.setattr(worker_module, "PATIENCE", 0.05)
    said: queue.Queue[Any] = queue.Queue()
    file = tmp_path / "seen.rrd"
    worker = Worker(
        make_policy, suite="two-ways", task="two-ways", seed=3, rerun=file, on_message=said.put
    )
    worker._thread.join(WAIT)
    assert started == [
        ("two-ways", "two-ways", 3, file),
        ("two-ways", "reach", 5, tmp_path / "seen-1.rrd"),
    ]
    assert isinstance(said.get(timeout=WAIT), Shown)
    assert said.get(timeout=WAIT).text == (
        "The robot's process died (exit code 7) and is started again."
    )
    worker.send({"do": "run"})  # lost, without an error
    worker.close()
