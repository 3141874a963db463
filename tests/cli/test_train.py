"""`eyehand train`: what a recipe's flags are, and what they come to."""

from pathlib import Path
from typing import Any

import pytest

from eyehand.cli import main, train
from eyehand.policies.heads.registry import HEADS
from eyehand.runs.train import TrainingRun


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingRun, Any, Any]]:
    found: list[tuple[TrainingRun, Any, Any]] = []
    monkeypatch.setattr(
        train, "run_training", lambda run, data, out, **_: found.append((run, data, out))
    )
    return found


def test_help_names_recipes_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 0
    said = capsys.readouterr().out
    assert "bcz-metaworld" in said
    assert f"--policy.head: {', '.join(HEADS)}" in said


def test_flags_of_the_recipes_own_policy(told: list[tuple[TrainingRun, Any, Any]]) -> None:
    words = "train roboflamingo-metaworld --data a b --out c --policy.latents 5 --policy.gripper 0"
    assert main([*words.split(), "--policy.head.dims", "7", "--minutes", "2"]) == 0
    ((run, data, out),) = told
    policy: Any = run.policy
    assert (policy.name, policy.latents, policy.gripper) == ("roboflamingo", 5, 0)
    assert (policy.head.name, policy.head.dims, policy.history) == ("mlp", (7,), 1)
    assert (run.training.minutes, data, out) == (2.0, (Path("a"), Path("b")), Path("c"))


def test_a_head_is_chosen_before_its_flags_are_read(
    told: list[tuple[TrainingRun, Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train bcz-metaworld --policy.head flow --policy.head.steps 5 --data a --out c"
    assert main(words.split()) == 0
    policy: Any = told[0][0].policy
    assert (policy.head.name, policy.head.steps) == ("flow", 5)
    with pytest.raises(SystemExit):
        main(["train", "bcz-metaworld", "--policy.latents", "5", "--data", "a", "--out", "c"])
    assert "--policy.latents" in capsys.readouterr().err
