import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.peers.adapter import LeRobotPolicy
from eyehand.envs.metaworld import METAWORLD
from eyehand.types import Actor, InputError, Observation

TASKS = ("reach", "push", "drawer-open")
STUB = Path(__file__).with_name("served_stub.py")
RUN = f"import runpy; runpy.run_path({str(STUB)!r}, run_name='__main__')"
SERVE = [sys.executable, "-c", RUN]


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[LeRobotPolicy]:
    with LeRobotPolicy(SERVE, tasks=TASKS, log=tmp_path / "log") as served:
        yield served


def observe(tasks: Sequence[str], *, brightness: int = 7) -> Observation:
    rows = len(tasks)
    return Observation(
        image={"top": torch.full((rows, 6, 6, 3), brightness, dtype=torch.uint8)},
        state=torch.arange(4.0 * rows).reshape(rows, 4),
        instruction=[METAWORLD.instructions(task).canonical for task in tasks],
        env_ids=[*range(10, 10 + rows)],
    )


def test_it_is_a_policy_that_passes_on_what_is_seen_and_told(policy: LeRobotPolicy) -> None:
    assert isinstance(policy, Actor)
    action = policy.act(observe(["push", "drawer-open", "reach"]))
    assert action.dtype == torch.float32
    assert action.shape == (3, 1, 4)
    task, calls, brightness, first = action[:, 0].unbind(dim=1)
    assert task.tolist() == [1, 2, 0]
    assert calls.tolist() == [1, 1, 1]
    assert brightness.tolist() == [7, 7, 7]
    assert first.tolist() == [0, 4, 8]


def test_a_reset_reaches_the_robots_that_it_names(policy: LeRobotPolicy) -> None:
    seen = observe(["push", "reach"])
    policy.act(seen)
    policy.act(seen)
    policy.reset([11])
    assert policy.act(seen)[:, 0, 1].tolist() == [3, 1]


def test_one_task_has_no_one_hot(tmp_path: Path) -> None:
    with LeRobotPolicy(SERVE, tasks=["push"], log=tmp_path / "log") as policy:
        assert policy.act(observe(["push"]))[0, 0, 0] == -1
        with pytest.raises(InputError, match="Reach a goal position"):
            policy.act(observe(["reach"]))


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "open it",
        METAWORLD.instructions("door-open").canonical,
        METAWORLD.instructions("push").training[0],
    ],
)
def test_an_unknown_sentence_is_refused(policy: LeRobotPolicy, sentence: str) -> None:
    seen = observe(["push", "reach"])
    told = Observation(seen.image, seen.state, [seen.instruction[0], sentence], seen.env_ids)
    with pytest.raises(InputError, match="without language knows") as caught:
        policy.act(told)
    assert repr(sentence) in str(caught.value)
    assert policy.act(seen).shape == (2, 1, 4)  # nothing was sent


def test_the_end_of_the_process_is_told_with_its_last_words(policy: LeRobotPolicy) -> None:
    with pytest.raises(RuntimeError, match="ended with code 3: thirteen is too much"):
        policy.act(observe(["push"], brightness=13))
    with pytest.raises(RuntimeError, match="ended with code 3"):
        policy.reset([0])


def test_a_command_that_fails_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no checkpoint there')"]
    with (
        LeRobotPolicy(command, tasks=TASKS, log=tmp_path / "log") as policy,
        pytest.raises(RuntimeError, match="ended with code 1: no checkpoint there"),
    ):
        policy.act(observe(["push"]))
