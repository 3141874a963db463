from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eyehand.models.vision import resnet
from eyehand.models.vision.resnet import BasicBlock, Bottleneck, ResNet


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # torchvision's documentation.
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        pytest.param("resnet101", 44_549_160, marks=pytest.mark.slow),
        pytest.param("resnet152", 60_192_808, marks=pytest.mark.slow),
    ],
)
def test_parameters_are_as_many_as_published(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = getattr(resnet, name)()
    assert sum(value.numel() for value in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # He et al., 2016, Table 1, says 1.8 and 3.6; torchvision's documentation of its weights
        # 1.81, 3.66 and, with the stride in the 3x3 convolution, 4.09.
        ("resnet18", 1.81),
        pytest.param("resnet34", 3.66, marks=pytest.mark.slow),
        pytest.param("resnet50", 4.09, marks=pytest.mark.slow),
    ],
)
def test_multiply_adds_are_as_many_as_published(name: str, billions: float) -> None:
    with torch.device("meta"):
        network = getattr(resnet, name)().eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.005)


def test_maps_halve_as_in_the_table() -> None:
    with torch.device("meta"):
        maps = resnet.resnet50(classes=None).maps(torch.zeros(1, 3, 224, 224))
    assert [tuple(part.shape[1:]) for part in maps] == [
        (64, 112, 112),
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]


def test_parameters_have_torchvisions_names() -> None:
    with torch.device("meta"):
        names = set(resnet.resnet50().state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.running_var",
        "layer3.5.bn3.bias",
        "fc.bias",
    } <= names
    # 53 convolutions, 53 norms of five entries, one classifier of two.
    assert len(names) == 53 + 5 * 53 + 2


def _randomised(module: nn.Module) -> Any:
    for name, value in module.double().eval().state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + (0.5 if "var" in name else -0.5))
    return module


def _norm(x: Tensor, norm: Any) -> Tensor:
    mean, variance, scale, shift = (
        value.view(-1, 1, 1)
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


@pytest.mark.parametrize(("stride", "dim"), [(1, 3), (1, 4), (2, 4)])
def test_basic_block_matches_the_formula(stride: int, dim: int) -> None:
    torch.manual_seed(0)
    block = _randomised(BasicBlock(dim, 4, stride=stride))
    x = torch.randn(2, dim, 7, 7).double()
    out = _norm(F.conv2d(x, block.conv1.weight, stride=stride, padding=1), block.bn1).relu()
    out = _norm(F.conv2d(out, block.conv2.weight, padding=1), block.bn2)
    shortcut = x
    if (stride, dim) != (1, 4):
        projection, norm = block.downsample
        shortcut = _norm(
            torch.einsum("oi,bihw->bohw", projection.weight[:, :, 0, 0], x)[
                ..., ::stride, ::stride
            ],
            norm,
        )
    torch.testing.assert_close(block(x), (out + shortcut).relu(), rtol=0, atol=1e-12)


def test_bottleneck_strides_in_its_3x3() -> None:
    torch.manual_seed(0)
    block = _randomised(Bottleneck(6, 2, stride=2))
    x = torch.randn(2, 6, 7, 7).double()
    out = _norm(F.conv2d(x, block.conv1.weight), block.bn1).relu()
    out = _norm(F.conv2d(out, block.conv2.weight, stride=2, padding=1), block.bn2).relu()
    out = _norm(F.conv2d(out, block.conv3.weight), block.bn3)
    projection, norm = block.downsample
    shortcut = _norm(F.conv2d(x[..., ::2, ::2], projection.weight), norm)
    torch.testing.assert_close(block(x), (out + shortcut).relu(), rtol=0, atol=1e-12)


def test_logits_are_read_from_the_mean_of_the_last_map() -> None:
    torch.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), classes=3).double().eval()
    image = torch.randn(1, 3, 64, 96).double()
    want = network.maps(image)[-1].flatten(2).mean(dim=2) @ network.fc.weight.T + network.fc.bias
    torch.testing.assert_close(network(image), want, rtol=0, atol=1e-12)


def test_without_classes_logits_are_refused() -> None:
    network = ResNet(BasicBlock, (1, 1, 1, 1), classes=None)
    with pytest.raises(ValueError, match="This ResNet was built with classes=None: only `maps`"):
        network(torch.zeros(2, 3, 32, 32))
