import pytest
import torch
from torch import nn

from eyehand.models.vision import alexnet as module
from eyehand.models.vision.alexnet import AlexNet, alexnet


def _parameters(part: nn.Module) -> int:
    return sum(value.numel() for value in part.parameters())


def test_parameters_are_the_published_ones() -> None:
    # Krizhevsky et al., 2012: 60 million. By hand, (inputs / groups x kernel + 1) x outputs:
    want = [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
    with torch.device("meta"):
        network = alexnet()
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert [_parameters(part) for part in layers] == want
    assert _parameters(network) == sum(want) == 60_965_224


def test_pictures_of_224_pixels_do_not_give_the_papers_55_cells() -> None:
    with torch.device("meta"):
        network = alexnet(classes=None)
        cells = [network.maps(torch.zeros(1, 3, side, side))[0].shape[2] for side in (224, 227)]
    assert cells == [54, 55]


def test_the_gpus_meet_only_before_the_third_convolution() -> None:
    torch.manual_seed(0)
    network = alexnet(classes=None)
    first = torch.randn(1, 96, 7, 7)
    changed = first.clone()
    changed[:, 48:] = 0
    second, other = network.stages[1](first), network.stages[1](changed)
    # Response normalisation reads two channels across the border.
    assert torch.equal(second[:, :126], other[:, :126])
    assert not torch.equal(second[:, 128:], other[:, 128:])
    third = network.stages[2][1](second), network.stages[2][1](other)
    assert not torch.equal(third[0][:, :192], third[1][:, :192])


def test_weights_start_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HIDDEN_DIM", 32)
    torch.manual_seed(0)
    network = AlexNet(classes=10, channels=3, image_size=67)
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    # Sec. 5: one in the second, fourth and fifth convolution and in the hidden dense layers.
    assert [part.bias[0].item() for part in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    for part in layers[:5]:
        assert part.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="67 pixels or more; got image_size=66"):
        alexnet(image_size=66)
    with torch.device("meta"):
        network = alexnet()
        with pytest.raises(ValueError, match="for pictures of 227x227 pixels; got 224x227"):
            network(torch.zeros(1, 3, 224, 227))
        assert network(torch.zeros(1, 3, 227, 227)).shape == (1, 1000)
