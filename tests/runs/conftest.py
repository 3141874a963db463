"""A small data set with everything that a page can show."""

from pathlib import Path

import numpy as np
import pytest

from eyehand.data.columns import Column, landmark_columns
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode

LENGTHS = (9, 30, 12, 7)
SENTENCES = (
    "Lift box 0",
    "Lift box 1",
    "Lift box 2",
    'Put it </script><b onclick="x">there & here',
)


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of two tasks, whose picture is one grey level that grows by 4 a frame."""
    folder = tmp_path_factory.mktemp("data") / "boxes"
    random = np.random.default_rng(0)
    with DatasetWriter(
        folder,
        fps=60,
        image_shapes={"top": (32, 48)},
        state_dim=3,
        action_dim=2,
        robot="arm",
        columns={
            **landmark_columns(("hand", "goal")),
            "reward": Column(),
            "depth": Column(shape=(6, 6)),
        },
    ) as writer:
        for seed, length in enumerate(LENGTHS):
            level = (4 * np.arange(length)).astype(np.uint8)[:, None, None, None]
            state = random.normal(size=(length, 3)).astype(np.float32)
            state[:, 2] = 5
            writer.add(
                Episode(
                    image={"top": np.broadcast_to(level, (length, 32, 48, 3)).copy()},
                    state=state,
                    action=random.uniform(-1, 1, (length, 2)).astype(np.float32),
                    instruction=SENTENCES[seed],
                    task="lift" if seed < 3 else "put",
                    seed=seed,
                    columns={
                        "reward": np.arange(length, dtype=np.float32),
                        "depth": np.ones((length, 6, 6), np.float32),
                    },
                    landmarks=np.tile(np.float32([[-0.5, 0.5, 1], [0.25, -3, 1]]), (length, 1, 1)),
                )
            )
    return folder
