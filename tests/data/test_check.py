import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyehand.data.check import check_dataset
from eyehand.types import Episode, InputError

MakeDataset = Callable[..., Path]
ChangeInfo = Callable[..., None]


def test_what_we_write_passes(tmp_path: Path, make_dataset: MakeDataset) -> None:
    check_dataset(make_dataset(tmp_path))


def test_other_times_are_noticed(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    folder = make_dataset(tmp_path)
    change_info(folder, lambda info: info.update(fps=20))
    with pytest.raises(InputError, match=r"episode 0 in .* do not grow by 1/20 s"):
        check_dataset(folder)


def test_other_statistics_are_noticed(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    folder = make_dataset(tmp_path)
    path = folder / "meta/stats.json"
    stored = json.loads(path.read_bytes())
    stored["observation.state"]["max"][1] = 40.0
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"stats\.json is not the file that was recorded"):
        check_dataset(folder)
    change_info(folder, lambda _: None)
    with pytest.raises(InputError, match=r"the max of 'state' in .*40\.0"):
        check_dataset(folder)


def test_a_blind_camera_is_noticed(tmp_path: Path, make_writer: Callable[..., object]) -> None:
    numbers = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    image = {"top": np.zeros((5, 16, 16, 3), np.uint8)}
    with make_writer(tmp_path) as writer:  # type: ignore[attr-defined]
        writer.add(Episode(image, numbers, numbers[:, :2], "Look.", task="look", seed=0))
    with pytest.raises(InputError, match=r"camera 'top' .* the same picture always"):
        check_dataset(tmp_path)


def test_a_damaged_video_is_noticed(tmp_path: Path, make_dataset: MakeDataset) -> None:
    folder = make_dataset(tmp_path)
    path = next(folder.rglob("*.mp4"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"file-000\.mp4 is not the file that was recorded"):
        check_dataset(folder)
