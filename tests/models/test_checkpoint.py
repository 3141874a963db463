import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from eyehand.models.checkpoint import load_described, read_config, stored_weights
from eyehand.types import InputError


def build(description: dict[str, Any]) -> nn.Linear:
    if description["width"] < 1:
        raise InputError("width must be at least 1.")
    layer = nn.Linear(description["width"], 2)
    layer.bias.requires_grad_(False).fill_(3)  # frozen: comes from elsewhere
    return layer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"network": {"width": 3}, "more": 1}))
    save_file({"weight": torch.arange(6.0).view(2, 3)}, tmp_path / "model.safetensors")
    return tmp_path


def test_a_network_comes_back_with_what_is_stored_and_what_is_frozen(folder: Path) -> None:
    layer = load_described(folder, "network", build)
    assert layer.weight.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert layer.bias.tolist() == [3, 3]
    assert not layer.training
    assert list(stored_weights(layer)) == ["weight"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"config\.json is truncated or altered \(Expecting"),
        ("[1]", r"config\.json must hold names and values in braces. It holds \[1\]"),
        ("{}", r"config\.json does not describe a network: its entry 'network' is missing"),
        ('{"network": 3}', "does not describe a network"),
        ('{"network": {"width": 0}}', r"config\.json: width must be at least 1"),
        ('{"network": {"width": 4}}', r"'weight' has shape \(2, 3\), .* asks for \(2, 4\)"),
    ],
)
def test_a_config_that_fits_nothing_is_one_sentence(folder: Path, text: str, sentence: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_described(folder, "network", build)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({}, "lacks the weight 'weight'"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, "has the weight 'bias'"),
    ],
)
def test_weights_of_another_network_are_refused(
    folder: Path, weights: dict[str, torch.Tensor], sentence: str
) -> None:
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=sentence):
        load_described(folder, "network", build)


def test_missing_and_truncated_files_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match="is truncated or altered"):
        load_described(folder, "network", build)
    weights.unlink()
    with pytest.raises(InputError, match=r"is no checkpoint: it has no model\.safetensors"):
        load_described(folder, "network", build)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"is no checkpoint: it has no config\.json"):
        read_config(folder)
