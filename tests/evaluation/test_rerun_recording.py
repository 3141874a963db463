"""Recordings hold what happened, and rerun itself reads them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eyehand.envs.metaworld import METAWORLD
from eyehand.envs.rollout import Start
from eyehand.evaluation.rerun_recording import RerunRecording, lit, record_episodes
from eyehand.types import InputError, Observation

pytest.importorskip("rerun", reason="rerun is not installed: make extras")
from rerun.chunk import RrdReader


def look(observation: Observation) -> torch.Tensor:
    return torch.ones(len(observation.env_ids), 2, 2)


def test_rerun_reads_what_was_recorded(tmp_path: Path) -> None:
    actions = np.full((5, 4), 0.5, np.float32)
    file = tmp_path / "new" / "episode.rrd"
    start = Start("reach", 1_000_000, "go there")
    record_episodes(
        file, METAWORLD, [(start, actions)], cameras={"work_area": 32}, look=look, every=2
    )
    counts: dict[str, int] = {}
    for chunk in RrdReader(str(file)).stream():
        counts[chunk.entity_path] = counts.get(chunk.entity_path, 0) + chunk.num_rows
    parts = dict.fromkeys(("sentence", "picture", "state", "action", "hand", "path"), 5)
    wanted = {f"/reach/1000000/{name}": count for name, count in (parts | {"look": 3}).items()}
    assert {path: count for path, count in counts.items() if "reach" in path} == wanted


def test_other_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.rrd"):
        RerunRecording(tmp_path / "episode.mp4", METAWORLD)
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        RerunRecording(tmp_path / "folder.rrd", METAWORLD)


def test_a_picture_is_bright_where_the_policy_looks() -> None:
    picture = np.full((8, 8, 3), 200, np.uint8)
    where = np.zeros((2, 2), np.float32)
    where[0, 1] = 0.1
    shown = lit(picture, where)
    assert shown[0, 7, 0] == 200
    assert shown[7, 0, 0] == 50
