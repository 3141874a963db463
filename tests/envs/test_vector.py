"""Workers are real processes here; a stand-in simulator keeps their start short where it can."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from eyehand.envs.metaworld import MetaWorldEnv
from eyehand.envs.slots import WorkerDeathError, WorkerError
from eyehand.envs.vector import VectorEnv
from eyehand.types import InputError

STAND_IN = (Path(__file__).parents[1] / "stand_ins/arm.py").read_text()


def actions(count: int, first: float = 0.0) -> np.ndarray:
    return np.full((count, 4), first, np.float32)


def receive_all(vector: VectorEnv, count: int) -> dict[int, Any]:
    replies: dict[int, Any] = {}
    while len(replies) < count:
        replies |= {reply.slot: reply for reply in vector.receive()}
    return replies


def gone(pids: list[int], within: float = 5) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_slots_share_workers_and_memory(stand_in: Any) -> None:
    with VectorEnv(
        stand_in, slots=3, workers=2, cameras={"near": 4, "far": 6}, state_dim=4
    ) as vector:
        for slot in range(3):
            vector.reset(slot, "one", seed=10 * slot)
        with pytest.raises(RuntimeError, match="slot 1 has not answered"):
            vector.reset(1, "one", seed=0)
        replies = receive_all(vector, 3)
        assert all((reply.steps, reply.ended) == (0, False) for reply in replies.values())
        assert vector.state[:, 0].tolist() == [0, 10, 20]
        assert vector.image["near"][:, 0, 0, 0].tolist() == [0, 10, 20]
        pids = vector.state[:, 3].tolist()
        assert pids[0] == pids[2] != pids[1]
        assert vector.receive(timeout=0.0) == []

        for slot in range(3):
            vector.step(slot, actions(3))
        assert {reply.steps for reply in receive_all(vector, 3).values()} == {3}
        assert vector.image["near"][2, 0, 0].tolist() == [23, 23, 23]
        # two of the next three are left before the limit; slot 1 solves its task at once
        vector.step(0, actions(3))
        vector.step(1, actions(3, first=1.0))
        replies = receive_all(vector, 2)
        assert (replies[0].steps, replies[0].success, replies[0].ended) == (2, False, True)
        assert (replies[1].steps, replies[1].success, replies[1].ended) == (1, True, True)

        vector.reset(0, "one", seed=1)  # the same task: the environment is used again
        receive_all(vector, 1)
        assert vector.state[0, 2] == 2
        vector.reset(0, "two", seed=1)
        receive_all(vector, 1)
        assert vector.state[0, 2] == 3


def test_failures_are_reported_and_leave_nothing(stand_in: Any) -> None:
    vector = VectorEnv(stand_in, slots=2, workers=1, cameras={"near": 4, "far": 6}, state_dim=4)
    pids = [process.pid for process in vector._processes]
    vector.reset(0, "broken", seed=7)
    vector.reset(1, "slow", seed=8)
    receive_all(vector, 2)
    vector.step(0, actions(1))
    with pytest.raises(WorkerError, match=r"'broken' \(seed 7\) failed in worker 0") as caught:
        vector.receive()
    assert "ZeroDivisionError: the arm fell off" in str(caught.value)
    assert "in step" in str(caught.value)  # the traceback of the worker

    vector._busy.clear()
    vector.reset(0, "unknown", seed=0)
    with pytest.raises(InputError, match="Did you mean 'known'"):
        vector.receive()

    vector.step(1, actions(1))
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(
        WorkerDeathError, match=r"worker 0 was killed by SIGKILL.*'slow' \(seed 8\):"
    ):
        vector.receive()
    vector._busy.clear()
    # The command line prints the sentence of an InputError, without a traceback.
    with pytest.raises(InputError, match=r"worker 0 was killed.*with fewer workers"):
        vector.reset(1, "one", seed=0)
    del vector, caught  # nobody closed it; a traceback holds on to its frames
    gc.collect()
    assert gone([pid for pid in pids if pid is not None])


@pytest.mark.parametrize(
    ("slots", "workers", "size", "sentence"),
    [(0, 1, 8, "`environments`.*0"), (1, -2, 8, "`workers`.*-2"), (1, 1, 0, "`pixels of eye`.*0")],
)
def test_refuses_counts(slots: int, workers: int, size: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        VectorEnv(MetaWorldEnv, slots=slots, workers=workers, cameras={"eye": size}, state_dim=4)


PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits "ignored"
from eyehand.envs.vector import VectorEnv
from arm import StandIn
if __name__ == "__main__":
    with VectorEnv(StandIn, slots=2, workers=2, cameras={"eye": 4}, state_dim=4) as vector:
        print(*[process.pid for process in vector._processes], flush=True)
        for slot, task in enumerate(("slow", "one")):
            vector.reset(slot, task, 0)
        vector.receive(), vector.receive(0.5)
        import numpy as np
        vector.step(0, np.zeros((1, 4), np.float32))
        print("ready", flush=True)
        vector.receive()
"""


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_nothing_is_left_running(how: signal.Signals, tmp_path: Path, stand_in: Any) -> None:
    """Ctrl-C goes to the whole process group, as from a terminal; a kill to the parent alone, while
    a worker is in the middle of a step of a minute."""
    step = "sleep(2)" if how == signal.SIGINT else "sleep(60)"
    (tmp_path / "arm.py").write_text(STAND_IN.replace("sleep(60)", step))
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert parent.stdout.readline() == "ready\n", parent.communicate()[1]
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)
        else:
            parent.kill()
        _, errors = parent.communicate(timeout=20)
    assert gone(pids, within=15)
    assert errors.count("Traceback") == (1 if how == signal.SIGINT else 0), errors
    assert parent.returncode == -how
