import torch
from torch import nn

from eyehand.inspection import smooth
from eyehand.inspection.smooth import Smooth, smooth_copy


def test_the_copy_is_positive_and_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    network[2].weight = network[0].weight
    nn.init.constant_(network[0].weight, -1.0)
    copy = smooth_copy(network)
    assert all((weight > 0).all() and not weight.requires_grad for weight in copy.parameters())
    assert copy[2].weight is copy[0].weight
    assert {x.dtype for x in [*copy.parameters(), copy[1].running_mean]} == {torch.float64}
    assert not copy.training
    assert network.training
    assert (network[0].weight == -1).all()


def test_a_large_weight_takes_no_memory() -> None:
    copy = smooth_copy(nn.Linear(1000, 1000))
    assert copy.weight.numel() > smooth.LARGE
    assert copy.weight.untyped_storage().nbytes() == 8 * 1000


def test_shapes_are_those_of_the_real_functions() -> None:
    x = torch.randn(2, 4, 9, 11)
    layers = [
        nn.Conv2d(4, 6, 3, groups=2, padding="same"), nn.Conv2d(4, 4, (1, 3), groups=4),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, dilation=3, stride=1), nn.AdaptiveMaxPool2d(3), nn.Linear(11, 5),
    ]  # fmt: skip
    for layer in layers:
        with Smooth():
            made = layer(x)
        assert made.shape == layer(x).shape
    with Smooth():
        assert layers[0](x[0]).shape == layers[0](x[0]).shape  # without a batch
