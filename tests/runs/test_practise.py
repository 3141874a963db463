"""A policy practises in the simulator: the verb from end to end, resumed, and refused."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from eyehand.cli import main
from eyehand.policies.registry import load_policy


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
    assert "rounds in 0.0 minutes" in said
    description = json.loads((tmp_path / "out" / "config.json").read_text())
    assert description["practise"]["failures"] == [["two-ways", 0], ["two-ways", 1]]
    assert description["practise"]["method"] == method
    assert load_policy(tmp_path / "out").config.action_dim == 2


def test_what_was_learnt_is_not_lost(
    practise: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert practise("") == 0
    assert practise("") == 2
    assert "--resume" in capsys.readouterr().err
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


def test_a_cluster_is_asked_for(
    practise: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with patch.dict(os.environ):
        assert practise("--ray auto") == 2
    assert 'pip install "eyehand[ray]"' in capsys.readouterr().err
