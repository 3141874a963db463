"""state.json of this version and of the one before, and what cannot be one."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from eyehand.checksums import write_json
from eyehand.training.config import TrainConfig
from eyehand.training.counters import Counters
from eyehand.training.cycle import Cycle
from eyehand.types import InputError

COUNTERS = Counters(Cycle("steps", 0.0, 9.0), 4, 2.5, 10.0, {"loss": 3.0}, {"loss": 2}, None)


def test_counters_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", asdict(COUNTERS))
    assert Counters.read(tmp_path / "state.json", {}) == COUNTERS


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "four"},
        {"steps": 5},
        {"cycle": {"unit": "years", "begin": 0, "end": 1, "start": 0}},
        {"cycle": 3},
        {"sums": [1]},
        {"counts": {"loss": None}},
    ],
)
def test_damage_that_no_checksum_shows_is_one_sentence(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(asdict(COUNTERS) | changes))  # as the version before wrote it
    with pytest.raises(InputError, match=r"state\.json does not say where the run stands"):
        Counters.read(path, {"steps": 9})


def test_the_version_before_kept_the_length_in_config_json(tmp_path: Path) -> None:
    old = {name: value for name, value in asdict(COUNTERS).items() if name != "cycle"}
    (tmp_path / "state.json").write_text(json.dumps(old))
    assert Counters.read(tmp_path / "state.json", {"steps": 9}) == COUNTERS
    with pytest.raises(InputError, match="does not say where the run stands"):
        Counters.read(tmp_path / "state.json", {"steps": "many"})


def test_progress_is_of_steps_or_of_minutes() -> None:
    assert COUNTERS.progress(TrainConfig(steps=8)) == 0.5
    assert COUNTERS.progress(TrainConfig(minutes=1.0)) == 2.5 / 60
