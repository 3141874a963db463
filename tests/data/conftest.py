"""Small episodes that look like something, and data sets of them."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.data.columns import Column, landmark_columns
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode

SIZE = 16

MakeEpisode = Callable[..., Episode]
MakeDataset = Callable[..., Path]


def _episode(
    seed: int,
    length: int = 7,
    *,
    cameras: tuple[str, ...] = ("top",),
    state_dim: int = 3,
    landmarks: int = 0,
) -> Episode:
    random = np.random.default_rng(seed)
    return Episode(
        image={
            name: random.integers(0, 256, (length, SIZE, SIZE, 3), dtype=np.uint8)
            for name in cameras
        },
        state=random.normal(size=(length, state_dim)).astype(np.float32),
        action=random.uniform(-1, 1, (length, 2)).astype(np.float32),
        instruction=f"Do number {seed % 3}.",
        task=f"task-{seed % 2}",
        seed=seed,
        landmarks=random.uniform(-2, 2, (length, landmarks, 3)).astype(np.float32)
        if landmarks
        else None,
    )


def _writer(
    folder: Path, cameras: tuple[str, ...] = ("top",), *, landmarks: Sequence[str] = (),
    columns: Mapping[str, Column] | None = None, **changes: Any,
) -> DatasetWriter:  # fmt: skip
    settings: dict[str, Any] = {"fps": 80, "state_dim": 3, "action_dim": 2} | changes
    settings["columns"] = landmark_columns(landmarks) | dict(columns or {})
    shapes = dict.fromkeys(cameras, (SIZE, SIZE))
    return DatasetWriter(folder, image_shapes=shapes, robot="none", **settings)


def _change_info(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "meta/info.json"
    info = json.loads(path.read_bytes())
    kept = {key: value for key, value in info.items() if "checksum" not in key}
    change(kept)
    path.write_text(json.dumps(kept))


@pytest.fixture
def change_info() -> Callable[..., None]:
    """Change ``meta/info.json`` as another program does: there are no checksums then."""
    return _change_info


@pytest.fixture
def make_episode() -> MakeEpisode:
    return _episode


@pytest.fixture
def make_writer() -> Callable[..., DatasetWriter]:
    return _writer


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> MakeDataset:
    """Write a data set, or copy one like it that was written before."""
    written: dict[str, Path] = {}

    def make(
        folder: Path, lengths: tuple[int, ...] = (7, 1, 12), *, first: int = 0, **settings: Any
    ) -> Path:
        alike = {
            "state_dim": settings.get("state_dim", 3),
            "landmarks": len(settings.get("landmarks", ())),
        }
        key = repr((lengths, first, settings))
        if key not in written:
            written[key] = tmp_path_factory.mktemp("written")
            with _writer(written[key], **settings) as writer:
                for seed, length in enumerate(lengths, first):
                    writer.add(_episode(seed, length, **alike))
        shutil.copytree(written[key], folder, dirs_exist_ok=True)
        return folder

    return make
