import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eyehand.data.layout import VIDEO_PATH, camera_feature, cameras_from_features, numbered
from eyehand.data.lerobot import Dataset
from eyehand.types import InputError

MakeDataset = Callable[..., Path]


def test_numbers_of_files_become_paths() -> None:
    want = "videos/observation.images.top/chunk-002/file-001.mp4"
    assert numbered(VIDEO_PATH, 2001, video_key="observation.images.top") == want


def test_cameras_are_what_was_written_and_others_are_refused() -> None:
    features = {"observation.images.top": camera_feature((8, 10), fps=30)}
    (camera,) = cameras_from_features(Path(), features).values()
    assert (camera.height, camera.width, camera.video) == (8, 10, True)
    features["observation.images.depth"] = features["observation.images.top"] | {
        "shape": [8, 10, 1]
    }
    with pytest.raises(InputError, match=r"depth' of .* \[8, 10, 1\]; colour pictures"):
        cameras_from_features(Path(), features)


def test_another_version_is_named_with_the_way_out(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    path = make_dataset(tmp_path) / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"codebase_version": "v2.1"}))
    with pytest.raises(InputError, match=r"format v2\.1; eyehand reads v3\.0.*convert_dataset"):
        Dataset(tmp_path)


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a LeRobot data set: it has no meta/info"):
        Dataset(tmp_path / "nothing")
