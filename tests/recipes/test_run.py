"""A recipe trains on a data set, and two steps and two more equal four."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eyehand.data.windows import WindowLoader
from eyehand.data.writer import DatasetWriter
from eyehand.policies.bcz import BCZConfig
from eyehand.recipes import RECIPES, find_recipe
from eyehand.recipes.run import TrainingRun, run_training
from eyehand.training.loop import TrainConfig
from eyehand.types import Batch, Episode, InputError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three short episodes of noise, from a camera and a robot that no recipe names."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data"
    with DatasetWriter(
        folder, fps=10, image_shapes={"front": (32, 32)}, state_dim=7, action_dim=5, robot="toy"
    ) as writer:
        for seed in range(3):
            writer.add(
                Episode(
                    image={"front": random.integers(0, 255, (9, 32, 32, 3), np.uint8)},
                    state=random.standard_normal((9, 7)).astype(np.float32),
                    action=random.uniform(-1, 1, (9, 5)).astype(np.float32),
                    instruction="Touch the block",
                    task="toy",
                    seed=seed,
                )
            )
    return folder


def tiny(steps: int) -> TrainingRun:
    policy = BCZConfig(image_size=32, dims=(8, 8, 8), context_dim=8, keypoints=4, map_dim=4)
    return TrainingRun(policy, TrainConfig(steps=steps, checkpoint_steps=1), batch_size=4)


def test_killed_after_two_steps_and_resumed_equals_four_in_one_go(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tiny(4), data, tmp_path / "whole", resume=False)

    def two(loader: WindowLoader, start_step: int = 0) -> Iterator[Batch]:
        yield loader.batch(0)
        yield loader.batch(1)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(WindowLoader, "batches", two)
        with pytest.raises(RuntimeError, match="killed"):
            run_training(tiny(4), data, tmp_path / "parts", resume=False)
    run_training(tiny(4), data, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_dimensions_and_cameras_are_read_off_the_data(data: Path, tmp_path: Path) -> None:
    run_training(tiny(1), data, tmp_path / "out", resume=False)
    text = (tmp_path / "out" / "config.json").read_text()
    assert '"front"' in text
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert any(tensor.shape == (7,) for tensor in weights.values()), "statistics of the state"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_whole(name: str) -> None:
    run = find_recipe(name)
    assert run.training.minutes is not None


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(InputError, match="no recipe 'bcz-metawrld'"):
        find_recipe("bcz-metawrld")
