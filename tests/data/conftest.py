"""Small episodes that look like something, and data sets of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode

SIZE = 16

MakeEpisode = Callable[..., Episode]
MakeDataset = Callable[..., Path]


def _episode(
    seed: int, length: int = 7, *, cameras: tuple[str, ...] = ("top",), state_dim: int = 3
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
    )


def _writer(folder: Path, cameras: tuple[str, ...] = ("top",), **changes: float) -> DatasetWriter:
    settings = {"fps": 80, "state_dim": 3, "action_dim": 2} | changes
    shapes = dict.fromkeys(cameras, (SIZE, SIZE))
    return DatasetWriter(folder, image_shapes=shapes, robot="none", **settings)


@pytest.fixture
def make_episode() -> MakeEpisode:
    return _episode


@pytest.fixture
def make_writer() -> Callable[..., DatasetWriter]:
    return _writer


@pytest.fixture
def make_dataset() -> MakeDataset:
    def make(folder: Path, lengths: tuple[int, ...] = (7, 1, 12), **settings: float) -> Path:
        with _writer(folder, **settings) as writer:  # type: ignore[arg-type]
            for seed, length in enumerate(lengths):
                writer.add(_episode(seed, length, state_dim=settings.get("state_dim", 3)))
        return folder

    return make
