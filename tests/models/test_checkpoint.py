import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from eyehand.checksums import read_json, save_tensors, write_json
from eyehand.models.checkpoint import (
    from_bytes,
    in_bytes,
    load_described,
    read_config,
    stored_weights,
)
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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    save_tensors(folder / "model.safetensors", {"weight": torch.full((2, 3), value)})
    with pytest.raises(InputError, match=r"model\.safetensors: weight 'weight' is not finite"):
        load_described(folder, "network", build)


def test_no_flipped_bit_of_the_weights_passes(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_tensors(path, load_file(path))
    whole = path.read_bytes()
    for at in range(0, 8 * len(whole), 41):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"model\.safetensors is truncated or altered"):
            load_described(folder, "network", build)


def test_a_config_that_was_altered_is_refused(folder: Path) -> None:
    path = folder / "config.json"
    write_json(path, read_json(path))
    path.write_text(path.read_text().replace('"more": 1', '"more": 2'))
    with pytest.raises(InputError, match=r"config\.json is not as it was written"):
        load_described(folder, "network", build)


def test_files_of_the_version_before_are_read_with_a_line_each(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        for _ in range(2):
            load_described(folder, "network", build)
    assert [line.split(":")[0] for line in caplog.messages] == [
        f"{folder / name} has no checksum" for name in ("config.json", "model.safetensors")
    ]


@pytest.mark.parametrize(
    ("width", "sentence"),
    [
        ("1000000000", r"config\.json: the network .* 0.0 MB in .* would need more than 64 MB"),
        ("1e40", r"config\.json describes a network that cannot be built \("),
        ("1" + 30 * "0", r"config\.json describes a network that cannot be built \("),
        ("[3]", r"config\.json describes a network that cannot be built \("),
        ("[" * 100_000, r"config\.json is truncated or altered"),
    ],
)
def test_a_config_of_absurd_sizes_is_refused_before_it_takes_memory(
    folder: Path, width: str, sentence: str
) -> None:
    (folder / "config.json").write_text(f'{{"network": {{"width": {width}}}}}')
    with pytest.raises(InputError, match=sentence):
        load_described(folder, "network", build)


def test_negative_sizes_are_one_sentence(folder: Path) -> None:
    (folder / "config.json").write_text('{"network": {"width": -3}}')
    message = (
        r"config\.json describes a network that cannot be built \(Trying to create tensor with"
    )
    with pytest.raises(InputError, match=message):
        load_described(folder, "network", lambda sizes: nn.Linear(sizes["width"], 2))


def test_bytes_are_off_by_half_a_step_of_their_own_row() -> None:
    draw = torch.Generator().manual_seed(0)
    filters = torch.randn(5, 4, 3, 3, generator=draw) * torch.tensor([1e-6, 1, 10, 1e4, 0]).view(
        -1, 1, 1, 1
    )
    weights = {"filters": filters, "bias": torch.randn(5), "count": torch.tensor([[3]])}
    packed = in_bytes(weights)
    assert packed["filters"].dtype == torch.int8
    again = from_bytes(packed)
    assert again.keys() == weights.keys()
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((again["filters"] - filters).abs() <= largest / 254 * 1.0001).all()
    assert torch.equal(again["bias"], weights["bias"])
    assert torch.equal(again["count"], weights["count"])


def test_a_network_in_bytes_loads_and_bytes_without_scales_do_not(folder: Path) -> None:
    stored = in_bytes({"weight": torch.arange(6.0).view(2, 3)})
    save_file(stored, folder / "model.safetensors")
    layer = load_described(folder, "network", build)
    torch.testing.assert_close(layer.weight, torch.arange(6.0).view(2, 3), rtol=0, atol=5 / 254)
    save_file({"weight": stored["weight"]}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: .* 'weight' .* has no scales"):
        load_described(folder, "network", build)
