from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eyehand.checksums import read_json, write_json
from eyehand.data.pictures import LabelledPictures
from eyehand.runs.picture_run import (
    NetworkConfig,
    PictureTraining,
    load_classifier,
    train_network,
)
from eyehand.training.config import TrainConfig
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
    again = load_classifier(tmp_path)
    image = torch.from_numpy(bars(4).image)
    torch.testing.assert_close(again(image), trained(image), rtol=0, atol=0)
    assert not again.training


def test_statistics_of_batch_normalization_are_those_of_the_averaged_weights(
    tmp_path: Path,
) -> None:
    """With its momentum of 0.01 EfficientNet would be asked with the statistics it began with."""
    config = replace(LENET, name="efficientnet-lite0")
    trained, _, _ = train_network(
        config, bars(40), bars(4), learning(2), tmp_path, data={}, resume=False
    )
    stem = next(part for part in trained.modules() if isinstance(part, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    stem.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        trained(torch.from_numpy(bars(40).image))
    mean = seen[0].mean(dim=(0, 2, 3))
    assert (mean.abs() > 0.1).any(), "else it proves nothing"
    torch.testing.assert_close(stem.running_mean, mean, rtol=0.2, atol=0.05)
    saved = load_classifier(tmp_path).state_dict()
    for name, value in trained.state_dict().items():
        assert torch.equal(saved[name], value), name


def test_a_resumed_run_is_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    def weights(folder: Path, *steps: int) -> dict[str, torch.Tensor]:
        for count in steps:
            steady = replace(learning(count).training, warmup=0.0, final_learning_rate=0.9999)
            config = replace(learning(count), training=steady)
            train_network(LENET, bars(40), bars(4), config, folder, data={}, resume=folder.exists())
        return load_classifier(folder).state_dict()

    whole, parts = weights(tmp_path / "whole", 4), weights(tmp_path / "parts", 2, 4)
    for name, value in whole.items():  # learning rates differ by 1e-4 of themselves, a step is 3e-3
        torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-4)


def test_a_network_that_cannot_read_the_pictures_is_refused_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    config = replace(LENET, name="resnet18", channels=3)
    with pytest.raises(InputError, match="resnet18 cannot read pictures of 32 pixels"):
        train_network(
            config, bars(8), bars(8), learning(1), tmp_path / "run", data={}, resume=False
        )
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_fit_its_config_is_one_sentence(tmp_path: Path) -> None:
    train_network(LENET, bars(8), bars(8), learning(1), tmp_path, data={}, resume=False)
    config = tmp_path / "config.json"
    written = read_json(config)
    for changes, sentence in (
        ({"classes": 3}, r"'network\.output\.\w+' has shape"),
        ({"classes": "two"}, r'network config: wrong value type for field "classes"'),
        ({"name": "lenet6"}, r"no network 'lenet6'\. Did you mean 'lenet5'"),
        ({"image_size": -1}, "image_size must be 1 to 4,096; got -1"),
    ):
        write_json(config, {**written, "network": {**written["network"], **changes}})
        with pytest.raises(InputError, match=sentence):
            load_classifier(tmp_path)
