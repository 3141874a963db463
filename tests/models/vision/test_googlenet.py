import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eyehand.models.vision.googlenet import (
    GoogLeNet,
    GoogLeNetLogits,
    Inception,
    googlenet,
    googlenet_auxiliary,
)


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    with torch.device("meta"):
        return googlenet()


def _weights(part: nn.Module) -> int:
    return sum(value.numel() for name, value in part.named_parameters() if "weight" in name)


@pytest.mark.parametrize(
    ("layers", "thousands", "published"),
    [
        # Szegedy et al., 2015, Table 1, whose unit is 1024 weights. Its rows for conv1, 4a, 4c, 4d,
        # 4e, 5a and 5b are not what its own channels give.
        ("conv1", 9.2, 2.7),
        ("conv2 conv3", 112.0, 112),
        ("inception3a", 159.5, 159),
        ("inception3b", 379.0, 380),
        ("inception4a", 366.75, 364),
        ("inception4b", 438.0, 437),
        ("inception4c", 497.5, 463),
        ("inception4d", 590.5, 580),
        ("inception4e", 847.0, 840),
        ("inception5a", 1018.0, 1072),
        ("inception5b", 1409.0, 1388),
        ("fc", 1000.0, 1000),
    ],
)
def test_weights_are_those_of_table_one(
    layers: str, thousands: float, published: float, network: GoogLeNet
) -> None:
    found = sum(_weights(getattr(network, layer)) for layer in layers.split()) / 1024
    assert found == pytest.approx(thousands, abs=0.05)
    if layers != "conv1":
        assert found == pytest.approx(published, rel=0.08)


@pytest.mark.parametrize(
    ("batch_norm", "auxiliary", "parameters"),
    [
        # The first two: BVLC's replication in Caffe, without and with its auxiliary classifiers.
        (False, False, 6_998_552),
        (False, True, 13_378_280),
        (True, False, 6_624_904),
        (True, True, 13_004_888),
    ],
)
def test_parameters(batch_norm: bool, auxiliary: bool, parameters: int) -> None:
    with torch.device("meta"):
        network = GoogLeNet(auxiliary=auxiliary, batch_norm=batch_norm)
    assert sum(value.numel() for value in network.parameters()) == parameters


def test_maps_are_those_of_table_one(network: GoogLeNet) -> None:
    maps = network.maps(torch.zeros(1, 3, 224, 224, device="meta"))
    assert [tuple(part.shape[1:]) for part in maps] == [
        (64, 112, 112),
        (192, 56, 56),
        (480, 28, 28),
        (832, 14, 14),
        (1024, 7, 7),
    ]


def test_an_inception_module_stacks_four_branches() -> None:
    torch.manual_seed(0)
    layer = Inception(6, (1, 2, 3, 4, 5, 6), batch_norm=False).double()
    for value in layer.parameters():
        nn.init.normal_(value)
    x = torch.randn(2, 6, 7, 7).double()

    def convolve(x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        unit = layer.get_submodule(name).conv
        return F.conv2d(x, unit.weight, unit.bias, padding=padding).relu()

    want = [
        convolve(x, "branch1", 0),
        convolve(convolve(x, "branch2.0", 0), "branch2.1", 1),
        convolve(convolve(x, "branch3.0", 0), "branch3.1", 2),
        convolve(F.max_pool2d(x, 3, stride=1, padding=1), "branch4.1", 0),
    ]
    torch.testing.assert_close(layer(x), torch.cat(want, dim=1), rtol=0, atol=1e-12)


def test_auxiliary_classifiers_answer_in_training_only() -> None:
    torch.manual_seed(0)
    network = googlenet_auxiliary(classes=5)
    image = torch.randn(2, 3, 32, 32)
    answer = network(image)
    assert isinstance(answer, GoogLeNetLogits)
    answer.early.sum().backward()
    assert network.inception4a.branch1.conv.weight.grad is not None
    assert network.inception4b.branch1.conv.weight.grad is None
    assert network.eval()(image).shape == (2, 5)
    assert googlenet(classes=5)(image).shape == (2, 5)
    assert googlenet_auxiliary(classes=None).aux1 is None
