import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eyehand.data.pictures import LabelledPictures
from eyehand.recipes.picture_run import (
    NetworkConfig,
    PictureTraining,
    load_network,
    train_network,
)
from eyehand.training.loop import TrainConfig
from eyehand.types import InputError

LENET = NetworkConfig(name="lenet5", classes=2, channels=1, image_size=32)


def bars(count: int) -> LabelledPictures:
    """A bright bar in the upper or in the lower half."""
    label = np.arange(count) % 2
    image = np.random.default_rng(count).integers(0, 60, (count, 16, 16, 1)).astype(np.uint8)
    image[label == 0, 3:6] = 250
    image[label == 1, 10:13] = 250
    return LabelledPictures(image, label, ["above", "below"])


def learning(steps: int) -> PictureTraining:
    training = TrainConfig(steps=steps, precision="fp32", learning_rate=3e-3, ema_decay=0.5)
    return PictureTraining(training=training, batch_size=8, random_shift=1)


def test_learns_and_says_how_well(tmp_path: Path) -> None:
    trained, confusion, results = train_network(
        LENET, bars(40), bars(20), learning(40), tmp_path, data={"name": "bars"}, resume=False
    )
    assert confusion.tolist() == [[10, 0], [0, 10]]
    assert results["test_pictures"] == 20
    assert results["steps"] == 40
    assert results["parameters"] == sum(p.numel() for p in trained.parameters())
    again = load_network(tmp_path)
    image = torch.from_numpy(bars(4).image)
    torch.testing.assert_close(again(image), trained(image), rtol=0, atol=0)
    assert not again.training


def test_a_network_that_cannot_read_the_pictures_is_refused_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    config = replace(LENET, name="resnet18", channels=3)
    with pytest.raises(InputError, match="resnet18 cannot read pictures of 32 pixels"):
        train_network(
            config, bars(8), bars(8), learning(1), tmp_path / "run", data={}, resume=False
        )
    assert not (tmp_path / "run").exists()


def test_damaged_runs_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run of a network"):
        load_network(tmp_path)
    train_network(LENET, bars(8), bars(8), learning(1), tmp_path, data={}, resume=False)
    config = tmp_path / "config.json"
    written = json.loads(config.read_text())
    for network in ({"name": "lenet5"}, {**written["network"], "classes": 3}):
        config.write_text(json.dumps({**written, "network": network}))
        with pytest.raises(InputError, match="no network that fits its config"):
            load_network(tmp_path)
    config.write_text(json.dumps(written))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="no network that fits its config"):
        load_network(tmp_path)
