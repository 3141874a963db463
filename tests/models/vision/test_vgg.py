import pytest
import torch
from torch import nn

from eyehand.models.vision import alexnet, vgg
from eyehand.models.vision.vgg import VGG, vgg11


@pytest.mark.parametrize(
    ("name", "parameters", "millions", "layers"),
    [
        # Simonyan & Zisserman, 2015, Tables 1 and 2.
        ("vgg11", 132_863_336, 133, 11),
        ("vgg13", 133_047_848, 133, 13),
        ("vgg16", 138_357_544, 138, 16),
        ("vgg19", 143_667_240, 144, 19),
    ],
)
def test_parameters_are_the_published_ones(
    name: str, parameters: int, millions: int, layers: int
) -> None:
    with torch.device("meta"):
        network = getattr(vgg, name)()
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert round(parameters / 1e6) == millions
    weighted = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert len(weighted) == layers


def test_parameters_have_torchvisions_names() -> None:
    with torch.device("meta"):
        names = set(vgg11().state_dict())
    convolutions = [f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)]
    layers = [*convolutions, "classifier.0", "classifier.3", "classifier.6"]
    assert names == {f"{layer}.{value}" for layer in layers for value in ("weight", "bias")}


def test_maps_are_those_before_each_pooling() -> None:
    torch.manual_seed(0)
    network = vgg11(classes=None)
    image = torch.randn(1, 3, 32, 64)
    maps = network.maps(image)
    assert torch.equal(maps[-1], network.features(image))
    assert torch.equal(maps[2], network.features[:10](image))
    for fine, coarse in zip(maps[-2:-1], maps[-1:], strict=True):
        assert torch.equal(nn.functional.max_pool2d(fine, 2), coarse)


def test_signals_keep_their_size_through_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alexnet, "HIDDEN_DIM", 64)
    torch.manual_seed(0)
    network = VGG((2, 2, 4, 4, 4), classes=10).eval()
    with torch.no_grad():
        logits = network(torch.randn(4, 3, 32, 32))
    assert 0.1 < logits.std().item() < 10


def test_without_classes_there_are_only_maps() -> None:
    with pytest.raises(ValueError, match="only `maps` works"):
        VGG((1, 1, 1, 1, 1), classes=None)(torch.zeros(1, 3, 32, 32))
