import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eyehand.models.vision import alexnet, spp_net, vgg
from eyehand.models.vision.check import check_dense_network, check_network
from eyehand.models.vision.registry import (
    DENSE_NETWORKS,
    FIXED_SIZE,
    NETWORKS,
    build_dense_network,
    build_network,
)
from eyehand.types import InputError

SIZES = {"alexnet": 67, "spp-net": 48, "unet": 16}
"""Pixels of the pictures that the battery shows; 32 to the others."""

HEAVY = {"vgg13", "vgg16", "vgg19", "resnet34", "resnet101", "resnet152", "vit-b-16"}
"""Larger siblings of a network that the default battery sees."""

HEAVY_DENSE = {"fcn32s", "fcn16s", "fcn8s"}
"""VGG-16 beneath: a hundred million parameters in one convolution."""


def _cases(names: Any, heavy: set[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in heavy else ()) for name in names]


def _function(name: str) -> Callable[..., Any]:
    module, function = {**NETWORKS, **DENSE_NETWORKS}[name].split(":")
    return getattr(import_module(module), function)


def _image(name: str) -> Tensor:
    pixels = SIZES.get(name, 32)
    return torch.randn(3, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", _cases(NETWORKS, HEAVY))
def test_every_network_passes_the_battery(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (alexnet, vgg, spp_net):  # their dense layers are a hundred million parameters
        monkeypatch.setattr(module, "HIDDEN_DIM", 16)
    image = _image(name)
    build = partial(build_network, name, channels=1, image_size=image.shape[-1])
    check_network(build, image=image, fixed_size=name in FIXED_SIZE)


@pytest.mark.parametrize("name", _cases(DENSE_NETWORKS, HEAVY_DENSE))
def test_every_dense_network_passes_the_battery(name: str) -> None:
    image = _image(name)
    build = partial(build_dense_network, name, channels=1)
    check_dense_network(build, image=image, step=image.shape[-1])


@pytest.mark.parametrize("name", _cases(NETWORKS, HEAVY))
def test_the_defaults_are_the_published_network(name: str) -> None:
    with torch.device("meta"):
        network = _function(name)()
        channels = 1 if name == "lenet5" else 3
        size = getattr(network, "image_size", 224)
        logits = network.eval()(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, 10 if name == "lenet5" else 1000)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no network 'resnet8'. Did you mean 'resnet18'\?"):
        build_network("resnet8", classes=10)
    with pytest.raises(InputError, match=r"no dense network 'u-net'. Did you mean 'unet'\?"):
        build_dense_network("u-net", classes=10)


def test_a_picture_that_is_too_small_is_the_users_error() -> None:
    with pytest.raises(InputError, match=r"network 'alexnet': .* 67 pixels or more; .*=32"):
        build_network("alexnet", classes=10, image_size=32)


def _run(script: str, *arguments: str, python: str = sys.executable) -> None:
    done = subprocess.run(
        [python, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


COMPILE = """
import sys
import torch
from eyehand.models.vision.check import check_compiles
from eyehand.models.vision.registry import NETWORKS, build_dense_network, build_network
name, pixels, backend = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if name in NETWORKS:
    network = build_network(name, classes=10, image_size=pixels)
else:
    network = build_dense_network(name, classes=10)
check_compiles(network, image=torch.randn(2, 3, pixels, pixels), backend=backend)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, "eager") for name in (*NETWORKS, *DENSE_NETWORKS)), ("lenet5", "inductor")],
)
def test_every_network_compiles_in_one_graph(name: str, backend: str) -> None:
    # In another process, for functions under jaxtyping's hook cannot be traced.
    _run(COMPILE, name, str(SIZES.get(name, 32)), backend)


TORCHVISION = """
import sys
import torch
import torchvision
from safetensors.torch import save_file
name, folder, options = sys.argv[1:]
torch.manual_seed(0)
model = getattr(torchvision.models, name)(**eval(options))
for key, value in model.state_dict().items():
    if key.endswith("running_var"):
        value.uniform_(0.5, 1.5)
    elif value.ndim == 1:
        value.add_(0.1 * torch.randn(value.shape))
    elif value.is_floating_point() and not value.any():
        value.normal_(std=0.02)
save_file(model.state_dict(), f"{folder}/weights.safetensors")
image = torch.randn(3, 3, 64, 64).double()
for module in model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
with torch.no_grad():
    seen = {"image": image, "evaluation": model.double().eval()(image)}
    trained = model.train()(image)
if isinstance(trained, tuple):
    seen.update(training=trained.logits, early=trained.aux_logits1, late=trained.aux_logits2)
else:
    seen["training"] = trained
save_file(seen, f"{folder}/seen.safetensors")
"""

GOOGLENET = {"aux_logits": True, "init_weights": False, "transform_input": False}
THEIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{name: (name, {}, {}) for name in NETWORKS if name.startswith(("vgg", "resnet"))},
    "googlenet-batch-norm": ("googlenet", GOOGLENET, {"auxiliary": True}),
    "vit-b-16": ("vit_b_16", {"image_size": 64}, {"image_size": 64}),
}
"""Our name to torchvision's, its options and ours."""


@pytest.mark.slow
@pytest.mark.parametrize("name", THEIRS)
def test_torchvisions_weights_load_and_see_the_same(name: str, tmp_path: Path) -> None:
    python = os.environ.get("EYEHAND_TORCHVISION_PYTHON")
    if not python:
        pytest.skip("EYEHAND_TORCHVISION_PYTHON names no Python that has torchvision")
    theirs, options, ours = THEIRS[name]
    _run(TORCHVISION, theirs, str(tmp_path), repr(options), python=python)
    weights, seen = (load_file(tmp_path / f"{what}.safetensors") for what in ("weights", "seen"))
    (tmp_path / "weights.safetensors").unlink()  # up to 600 MB
    network = _function(name)(**ours)
    assert network.state_dict().keys() == weights.keys()
    network.load_state_dict(weights)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        network.double().eval()
        _assert_same(network(seen["image"]), seen["evaluation"])
        trained = network.train()(seen["image"])
    if isinstance(trained, tuple):
        _assert_same(trained.early, seen["early"])
        _assert_same(trained.late, seen["late"])
        trained = trained.logits
    _assert_same(trained, seen["training"])


def _assert_same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9 * want.abs().max().item())
