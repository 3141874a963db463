from pathlib import Path
from typing import Any

import pytest

from eyehand.cli import classify, main
from eyehand.runs.classify import ClassifyConfig

FOUND = {
    "accuracy": 0.9, "interval": [0.8, 0.95], "test_pictures": 360, "parameters": 60_850,
    "steps": 7, "seconds": 90.0,
}  # fmt: skip


def test_flags_reach_the_run_and_one_sentence_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def run(name: str, config: ClassifyConfig, out: Path, *, resume: bool) -> dict[str, Any]:
        asked.extend((name, config, out, resume))
        return FOUND

    monkeypatch.setattr(classify, "classify", run)
    arguments = ["classify", "lenet5", "--out", str(tmp_path), "--data", "digits", "--resume"]
    assert main([*arguments, "--steps", "7", "--batch-size", "48"]) == 0
    name, config, out, resume = asked
    assert (name, out, resume) == ("lenet5", tmp_path, True)
    assert (config.data, config.batch_size) == ("digits", 48)
    assert (config.training.steps, config.training.minutes) == (7, None)
    shown = capsys.readouterr().out
    assert "lenet5 on digits: 90.00% correct of 360 test pictures" in shown
    assert "(95 % interval 80.00% to 95.00%), 60,850 parameters, 7 steps in 1.5 minutes" in shown


def test_a_mistake_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["classify", "lenet6", "--data", "digits", "--out", str(out)]) == 2
    assert "no classifier 'lenet6'. Did you mean 'lenet5'?" in capsys.readouterr().err
    assert not out.exists()
