import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from eyehand.nn.convolution import (
    DepthwiseSeparableConv2d,
    PixelShuffleUpsampling,
    ShuffledGroupConv2d,
    SpatiallySeparableConv2d,
    channel_shuffle,
)

CLOSE = {"rtol": 0, "atol": 1e-12}


def test_one_channel_is_convolved_with_the_outer_product() -> None:
    """Sobel's filter: smooth along the height, differentiate along the width."""
    layer = SpatiallySeparableConv2d(1, 1, kernel_size=3).double()
    smooth, difference = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    layer[0].weight.data = smooth.double().view(1, 1, 3, 1)
    layer[1].weight.data = difference.double().view(1, 1, 1, 3)
    x = torch.randn(2, 1, 6, 7).double()
    sobel = torch.outer(smooth, difference).double()[None, None]
    want = F.conv2d(x, sobel, layer[1].bias, padding=1)
    torch.testing.assert_close(layer(x), want, **CLOSE)


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (5, 2)])
def test_many_channels_are_convolved_with_sums_of_outer_products(
    kernel_size: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = SpatiallySeparableConv2d(3, 4, kernel_size=kernel_size, stride=stride).double()
    x = torch.randn(2, 3, 9, 8).double()
    down, right = layer[0].weight[..., 0], layer[1].weight[:, :, 0]
    full = torch.einsum("omx,miy->oiyx", right, down)
    want = F.conv2d(x, full, layer[1].bias, stride=stride, padding=kernel_size // 2)
    torch.testing.assert_close(layer(x), want, **CLOSE)


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (5, 2)])
def test_depthwise_separable_is_a_full_convolution_of_rank_one_per_channel(
    kernel_size: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = DepthwiseSeparableConv2d(3, 4, kernel_size=kernel_size, stride=stride).double()
    x = torch.randn(2, 3, 9, 8).double()
    full = torch.einsum("oi,iyx->oiyx", layer[1].weight[..., 0, 0], layer[0].weight[:, 0])
    want = F.conv2d(x, full, layer[1].bias, stride=stride, padding=kernel_size // 2)
    torch.testing.assert_close(layer(x), want, **CLOSE)
    weights = layer[0].weight.numel() + layer[1].weight.numel()
    assert weights / full.numel() == pytest.approx(1 / 4 + 1 / kernel_size**2)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 12])
def test_channel_shuffle_equals_torchs(groups: int) -> None:
    x = torch.randn(2, 12, 3, 4)
    shuffled = channel_shuffle(x, groups=groups)
    assert torch.equal(shuffled, F.channel_shuffle(x, groups))
    assert torch.equal(channel_shuffle(shuffled, groups=12 // groups), x)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_shuffled_convolution_is_both_halves(kernel_size: int) -> None:
    torch.manual_seed(0)
    layer = ShuffledGroupConv2d(6, 12, groups=3, kernel_size=kernel_size).double()
    x = torch.randn(2, 6, 4, 5).double()
    weight, bias = layer[0].weight, layer[0].bias
    parts = [
        F.conv2d(part, weight[4 * i : 4 * i + 4], bias[4 * i : 4 * i + 4], padding=kernel_size // 2)
        for i, part in enumerate(x.split(2, dim=1))
    ]
    want = torch.stack([parts[i][:, d] for d in range(4) for i in range(3)], dim=1)
    torch.testing.assert_close(layer(x), want, **CLOSE)


def reach(network: nn.Module, dim: int) -> float:
    """The share of (output, input) pairs of channels of which one sees the other."""
    x = torch.randn(1, dim, 1, 1).double()
    jacobian = torch.autograd.functional.jacobian(network.double(), x)
    return (jacobian.squeeze() != 0).double().mean().item()


def test_after_the_shuffle_every_group_hears_of_every_other() -> None:
    torch.manual_seed(0)
    shuffled = nn.Sequential(*(ShuffledGroupConv2d(9, 9, groups=3) for _ in range(2)))
    grouped = nn.Sequential(*(nn.Conv2d(9, 9, kernel_size=1, groups=3) for _ in range(5)))
    assert reach(shuffled, 9) == 1
    assert reach(grouped, 9) == pytest.approx(1 / 3)  # the control
    narrow = nn.Sequential(*(ShuffledGroupConv2d(6, 6, groups=3) for _ in range(2)))
    assert reach(narrow, 6) < 1  # two channels cannot come from three groups


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_new_upsampling_repeats_the_pixels_of_a_convolution(factor: int) -> None:
    torch.manual_seed(0)
    layer = PixelShuffleUpsampling(4, 3, factor=factor).double()
    x = torch.randn(2, 4, 5, 6).double()
    kernel, bias = layer[0].weight[:: factor**2], layer[0].bias[:: factor**2]
    want = F.interpolate(F.conv2d(x, kernel, bias, padding=1), scale_factor=float(factor))
    torch.testing.assert_close(layer(x), want, **CLOSE)
    assert len({tuple(each.flatten().tolist()) for each in kernel}) == 3


def test_upsampling_is_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer = PixelShuffleUpsampling(4, 3, factor=2).double()
    nn.init.normal_(layer[0].weight)
    x = torch.randn(2, 4, 5, 6).double()
    kernel = rearrange(layer[0].weight.flip(2, 3), "(c i j) d k m -> d c (k i) (m j)", i=2, j=2)
    want = F.conv_transpose2d(x, kernel, layer[0].bias[::4], stride=2, padding=2)
    torch.testing.assert_close(layer(x), want, **CLOSE)


def test_sub_pixels_can_learn_to_differ() -> None:
    layer = PixelShuffleUpsampling(1, 1, factor=2)
    layer(torch.randn(1, 1, 4, 4))[..., ::2, ::2].sum().backward()
    assert layer[0].weight.grad is not None
    moved = layer[0].weight.grad.flatten(1).abs().amax(dim=1) > 0
    assert moved.tolist() == [True, False, False, False]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="odd, to be padded evenly; got 4"):
        DepthwiseSeparableConv2d(3, 4, kernel_size=4)
    with pytest.raises(ValueError, match="got 2"):
        SpatiallySeparableConv2d(3, 4, kernel_size=2)
    with pytest.raises(ValueError, match="got 4 of 6"):
        channel_shuffle(torch.zeros(1, 6, 2, 2), groups=4)
    with pytest.raises(ValueError, match="groups"):
        ShuffledGroupConv2d(6, 8, groups=3)


@pytest.mark.parametrize(
    "layer",
    [
        SpatiallySeparableConv2d(4, 8, kernel_size=3),
        DepthwiseSeparableConv2d(4, 8, kernel_size=3),
        ShuffledGroupConv2d(4, 8, groups=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_keeps_channels_last(layer: nn.Module) -> None:
    x = torch.randn(2, 4, 6, 7).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
