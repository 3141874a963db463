from pathlib import Path
from typing import Any

import pytest

from eyehand.cli import main, segment
from eyehand.runs.segment import SegmentConfig

FOUND = {
    "test_pictures": 6, "pixel_accuracy": 0.5, "mean_accuracy": 0.4, "mean_iou": 0.3,
    "frequency_weighted_iou": 0.2, "iou": {"table": 0.25, "robot": None},
}  # fmt: skip


def test_flags_reach_the_run_and_a_table_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def run(name: str, config: SegmentConfig, out: Path, *, resume: bool) -> dict[str, Any]:
        asked.extend((name, config, out, resume))
        return FOUND

    monkeypatch.setattr(segment, "segment", run)
    arguments = ["segment", "unet", "--tasks", "reach", "--out", str(tmp_path), "--minutes", "2"]
    assert main(arguments) == 0
    name, config, out, resume = asked
    assert (name, out, resume) == ("unet", tmp_path, False)
    assert (config.tasks, config.training.minutes) == ("reach", 2)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = [" ".join(word for word in row if word.isascii()) for row in rows]
    assert "mean iou 30.00%" in shown
    assert "IoU of table 25.00%" in shown
    assert "IoU of robot -" in shown
