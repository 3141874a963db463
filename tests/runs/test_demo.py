"""What the demo shows before it trains anything."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from eyehand.evaluation.film import PlayConfig
from eyehand.runs import demo as demo_module
from eyehand.runs.demo import SHOWN, show_released


def test_the_released_policy_is_told_each_sentence_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, str | None, dict[str, int]]] = []

    def fake_play(policy: Any, config: PlayConfig, *, cameras: dict[str, int]) -> Any:
        told.append((config.task, config.instruction, cameras))
        config.out.parent.mkdir(exist_ok=True)
        config.out.write_bytes(b"film")
        return SimpleNamespace(success=config.task != "faucet-close", steps=7)

    monkeypatch.setattr(demo_module, "play", fake_play)
    for _ in range(2):
        show_released(tmp_path / "released", Console(highlight=False))
    assert told == [(task, sentence, {"work_area": 96}) for task, sentence in SHOWN]
    said = capsys.readouterr().out
    assert "drawer-open succeeded after 7 steps" in said
    assert "faucet-close did not succeed after 7 steps" in said
