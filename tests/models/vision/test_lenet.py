import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eyehand.models.vision.lenet import (
    C3_CONNECTIONS,
    PartialConvolution,
    ScaledTanh,
    Subsampling,
    lenet5,
)


@pytest.mark.parametrize(
    ("layer", "parameters"),
    # LeCun et al., 1998, sec. II-B; the last is 84 x 10 fixed numbers there.
    [
        ("c1", 156),
        ("s2", 12),
        ("c3", 1516),
        ("s4", 32),
        ("c5", 48_120),
        ("f6", 10_164),
        ("output", 850),
    ],
)
def test_layers_have_the_published_parameters(layer: str, parameters: int) -> None:
    assert sum(value.numel() for value in getattr(lenet5(), layer).parameters()) == parameters


def test_the_published_total_is_60000() -> None:
    network = lenet5()
    last = sum(value.numel() for value in network.output.parameters())
    assert sum(value.numel() for value in network.parameters()) - last == 60_000


def test_table_one_connects_as_the_paper_says() -> None:
    # "Every contiguous subset of three", "of four", then some discontinuous ones, then all.
    assert [{(start + step) % 6 for step in range(3)} for start in range(6)] == [
        set(below) for below in C3_CONNECTIONS[:6]
    ]
    assert [{(start + step) % 6 for step in range(4)} for start in range(6)] == [
        set(below) for below in C3_CONNECTIONS[6:12]
    ]
    assert [len(below) for below in C3_CONNECTIONS[12:]] == [4, 4, 4, 6]
    # Every map of S2 is read by ten of C3.
    assert [sum(number in below for below in C3_CONNECTIONS) for number in range(6)] == [10] * 6


def test_a_partial_convolution_is_a_whole_one_with_zeros() -> None:
    torch.manual_seed(0)
    layer = PartialConvolution(C3_CONNECTIONS).double()
    weight = torch.zeros(16, 6, 5, 5).double()
    for row, (below, part) in enumerate(zip(C3_CONNECTIONS, layer.maps, strict=True)):
        weight[row, list(below)] = part.weight[0].detach()
    bias = torch.cat([part.bias for part in layer.maps])
    x = torch.randn(2, 6, 14, 14).double()
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, bias), rtol=0, atol=1e-12)


def test_subsampling_scales_the_sum_of_each_square() -> None:
    torch.manual_seed(0)
    layer = Subsampling(3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 6).double()
    got = layer(x)
    for channel in range(3):
        square = x[:, channel, 2:4, 0:2].sum(dim=(1, 2))
        want = layer.weight[channel] * square + layer.bias[channel]
        torch.testing.assert_close(got[:, channel, 1, 0], want[0], rtol=0, atol=1e-12)


def test_the_squashing_goes_through_one_and_bends_most_there() -> None:
    x = torch.linspace(0, 3, 3001, dtype=torch.float64)
    y = ScaledTanh()(x)
    assert y[1000].item() == pytest.approx(1, abs=1e-4)
    bend = y.diff().diff()
    assert x[1 + bend.abs().argmax()].item() == pytest.approx(1, abs=0.02)


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    network = lenet5()
    assert network.c5.weight.abs().max().item() == pytest.approx(2.4 / 400, rel=0.01)
    assert network.f6.weight.abs().max().item() == pytest.approx(2.4 / 120, rel=0.01)
    assert not network.f6.bias.any()


def test_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"32 pixels or more; got image_size=28"):
        lenet5(image_size=28)
    with pytest.raises(ValueError, match=r"was built for pictures of 32x32 pixels; got 36x32"):
        lenet5()(torch.zeros(1, 1, 36, 32))
    assert lenet5(image_size=40)(torch.zeros(1, 1, 40, 40)).shape == (1, 10)


def test_without_classes_there_are_only_maps() -> None:
    network = lenet5(classes=None)
    with pytest.raises(ValueError, match="only `maps` works"):
        network(torch.zeros(1, 1, 32, 32))
    assert [part.shape[2] for part in network.maps(torch.zeros(1, 1, 48, 48))] == [44, 18, 5]
