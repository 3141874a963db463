"""A policy practises in the simulator: the verb from end to end, resumed, and refused."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from eyehand.cli import main
from eyehand.envs.rollout import Outcome, Start
from eyehand.policies.registry import load_policy
from eyehand.runs import practise as practised
from eyehand.training.config import TrainConfig
from eyehand.types import Observation


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy trained for three steps on two demonstrations."""
    folder = tmp_path_factory.mktemp("practise")
    record = f"record --suite two-ways --tasks all --episodes 2 --workers 1 --out {folder}/data"
    assert main(record.split()) == 0
    train = (
        f"train bcz-metaworld --data {folder}/data --out {folder}/policy --steps 3 --batch-size 8"
    )
    assert main(train.split()) == 0
    return folder / "policy"


@pytest.fixture
def practise(tmp_path: Path, learnt: Path) -> Callable[[str], int]:
    """Run the verb with a few episodes and some more words; return its exit code."""

    def run(words: str) -> int:
        small = "--suite two-ways --tasks all --candidates 2 --starts 2 --episodes 2 --workers 1"
        limit = f"--minutes 0.001 --out {tmp_path / 'out'}"
        return main(["practise", str(learnt), *f"{small} {limit} {words}".split()])

    return run


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_a_practised_policy_is_a_checkpoint(
    method: str, practise: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert practise(f"--method {method}") == 0
    said = capsys.readouterr().out
    assert "the policy fails from 2 of 2 start states" in said
    assert re.search(r"\d steps in \d+\.\d minutes", said)
    description = json.loads((tmp_path / "out" / "config.json").read_text())
    assert description["practise"]["failures"] == [["two-ways", 0], ["two-ways", 1]]
    assert description["practise"]["method"] == method
    assert load_policy(tmp_path / "out").config.action_dim == 2


def test_a_corrected_policy_is_measured_as_any_other(
    practise: Callable[[str], int], tmp_path: Path
) -> None:
    assert practise("--method residual_sac --execution.steps 2 --settings.alpha 0.1") == 0
    assert load_policy(tmp_path / "out").config.executed == 2  # type: ignore[attr-defined]
    words = "--suite two-ways --tasks all --episodes 1 --workers 1 --execution.steps 2"
    measured = tmp_path / "measured"
    assert main(["eval", str(tmp_path / "out"), *words.split(), "--out", str(measured)]) == 0
    assert (measured / "results.json").exists()


def test_what_was_learnt_is_not_lost(
    practise: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert practise("") == 0
    assert practise("") == 2
    assert "--resume" in capsys.readouterr().err
    assert practise("--method ppo --resume") == 2
    assert "method" in capsys.readouterr().err  # another run is not gone on with
    assert practise("--resume") == 0
    assert "as it is" not in capsys.readouterr().out  # the first try is not repeated


def test_pairs_that_are_not_there_are_said(
    practise: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert practise("--method dpo") == 2
    assert "no start of the practice has an episode that succeeded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--method grop", "no way to practise 'grop'. Did you mean 'grpo'?"),
        ("--execution.temporal-ensembling 0.01", "has no probability of its own; leave it out"),
        ("--episodes 1", "--episodes must be 2 to 1,000,000; got 1"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str,
    sentence: str,
    practise: Callable[[str], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert practise(words) == 2
    assert sentence in capsys.readouterr().err


def three_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run last three rounds whatever the clock says, with a checkpoint after each."""
    length = {"minutes": None, "steps": 3, "checkpoint_steps": 1}
    monkeypatch.setattr(practised, "TrainConfig", lambda **of: TrainConfig(**(of | length)))


def run_without_simulator(
    actor: Any,
    cameras: dict[str, int],
    _: Any,
    starts: Sequence[Start],
    config: Any,
    __: Any = None,
) -> list[Outcome]:
    """Two decisions an episode; it succeeds where it went further right than the one before."""
    size = next(iter(cameras.values()))
    for time in range(2):
        with torch.inference_mode():
            chunk = actor.act(
                Observation(
                    image={
                        one: torch.zeros(len(starts), size, size, 3, dtype=torch.uint8)
                        for one in cameras
                    },
                    state=torch.tensor([[0.01 * one.seed + 0.1 * time] * 2 for one in starts]),
                    instruction=[one.instruction for one in starts],
                    env_ids=range(len(starts)),
                )
            )
    actor.reset(range(len(starts)))
    actions = np.zeros((2 * config.execution.steps, 2), np.float32)
    right = chunk[:, 0, 0]
    return [
        Outcome(start, success=further, actions=actions, terminated=further)
        for start, further in zip(starts, (right > right.roll(1)).tolist(), strict=True)
    ]


@pytest.mark.parametrize("method", practised.METHODS)
def test_a_run_that_broke_off_ends_as_if_it_had_not(
    method: str, practise: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_rounds(monkeypatch)
    monkeypatch.setattr(practised, "_run", run_without_simulator)
    algorithm = practised.METHODS[method][0]
    step, steps = algorithm.step, 0

    def breaks_off(update: Any, batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise RuntimeError("no more power")
        return step(update, batch)

    ends = []
    for out, at_once in (("once", True), ("twice", False)):
        words = f"--method {method} --starts 2 --episodes 4 --out {tmp_path / out}"
        if method == "residual_sac":
            words += " --settings.ramp 4"  # else no decision of so few rounds would be corrected
        if not at_once:
            monkeypatch.setattr(algorithm, "step", breaks_off)
            with pytest.raises(RuntimeError, match="no more power"):
                practise(words)
            monkeypatch.setattr(algorithm, "step", step)
            words += " --resume"
        assert practise(words) == 0
        ends.append(load_policy(tmp_path / out).state_dict())
    assert all(torch.equal(one, ends[1][name]) for name, one in ends[0].items())


KILLED = """
import os, signal, sys
from eyehand.cli import main
from eyehand.functional.start_seed import start_seed
from eyehand.rl.practice import PractisingActor
from eyehand.runs import practise
from eyehand.training.config import TrainConfig

if __name__ == "__main__":
    length = {"minutes": None, "steps": 3, "checkpoint_steps": 1}
    practise.TrainConfig = lambda **of: TrainConfig(**(of | length))
    act, calls = PractisingActor.act, 0

    def killed(actor, *arguments, **options):
        global calls
        calls += actor.seed == start_seed("round 1", 0)
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(actor, *arguments, **options)

    if sys.argv[1] == "killed":
        PractisingActor.act = killed
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "residual_sac"])
def test_a_killed_run_ends_as_if_it_had_not_been(method: str, learnt: Path, tmp_path: Path) -> None:
    """By SIGKILL in the middle of the second round, while the simulator runs."""
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    words = (
        f"practise {learnt} --method {method} --suite two-ways --tasks all --candidates 2 "
        "--starts 2 --episodes 4 --workers 1 --minutes 1"
    )
    if method == "residual_sac":
        words += " --settings.ramp 20"

    def run(how: str, out: str, more: str = "") -> int:
        line = f"{words} --out {tmp_path / out} {more}".split()
        return subprocess.run([sys.executable, str(script), how, *line], check=False).returncode

    assert run("whole", "once") == 0
    assert run("killed", "twice") == -signal.SIGKILL
    assert run("whole", "twice", "--resume") == 0
    once, twice = (load_policy(tmp_path / out).state_dict() for out in ("once", "twice"))
    assert all(torch.equal(one, twice[name]) for name, one in once.items())


def test_a_cluster_is_asked_for(
    practise: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with patch.dict(os.environ):
        assert practise("--ray auto") == 2
    assert 'pip install "eyehand[ray]"' in capsys.readouterr().err
