"""Convolutions factored by axis, channel or group, and one that enlarges: channels become pixels.

Each is a sequence of two of torch's layers without anything between them, so that it is itself one
linear map. Odd kernels are padded to keep the size at stride 1.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class SpatiallySeparableConv2d(nn.Sequential):
    """Convolve along the height, then along the width (Jaderberg et al., 2014, scheme 2).

    With one channel in and out it is the convolution with the outer product of both kernels: ``2k``
    weights instead of ``k * k``, but only kernels of rank 1 (a Gaussian and Sobel are, a Laplacian
    is not). The first has ``out_dim`` channels and no bias: the second pads with zeros, and zero
    plus a bias is not zero. Szegedy et al. (2016, sec. 3.2) find such pairs good on maps of 12 to
    20 cells and poor in early layers.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        kernel_size: Length of both kernels, odd.
        stride: Cells from one output to the next.

    Raises:
        ValueError: If ``kernel_size`` is not odd.

    References:
        Jaderberg et al., 2014, https://arxiv.org/abs/1405.3866. Szegedy et al., 2016,
        https://arxiv.org/abs/1512.00567.

    Example:
        >>> SpatiallySeparableConv2d(3, 8, kernel_size=7)(torch.zeros(1, 3, 20, 30)).shape
        torch.Size([1, 8, 20, 30])
    """

    def __init__(self, dim: int, out_dim: int, *, kernel_size: int, stride: int = 1) -> None:
        k, padding = kernel_size, _same_padding(kernel_size)
        super().__init__(
            nn.Conv2d(dim, out_dim, (k, 1), stride=(stride, 1), padding=(padding, 0), bias=False),
            nn.Conv2d(out_dim, out_dim, (1, k), stride=(1, stride), padding=(0, padding)),
        )


class DepthwiseSeparableConv2d(nn.Sequential):
    """Convolve every channel by itself, then mix channels 1 x 1 (Howard et al., 2017, sec. 3.1).

    Of the multiply-adds of a full convolution it needs ``1 / out_dim + 1 / kernel_size**2``, of the
    time more: the depthwise half reads a whole map for little arithmetic and waits for memory.

    Activations and normalization belong to the caller. This one has nothing between its halves, as
    in Xception (Chollet, 2017); MobileNet has batch norm and ReLU after *each*: write the two
    convolutions out there.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        kernel_size: Side of the depthwise kernels, odd.
        stride: Cells from one output to the next.

    Raises:
        ValueError: If ``kernel_size`` is not odd.

    References:
        Howard et al., 2017, https://arxiv.org/abs/1704.04861. Chollet, 2017,
        https://arxiv.org/abs/1610.02357.

    Example:
        >>> DepthwiseSeparableConv2d(8, 16, kernel_size=3, stride=2)(torch.zeros(1, 8, 7, 7)).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(self, dim: int, out_dim: int, *, kernel_size: int, stride: int = 1) -> None:
        padding = _same_padding(kernel_size)
        super().__init__(
            nn.Conv2d(dim, dim, kernel_size, stride, padding, groups=dim, bias=False),
            nn.Conv2d(dim, out_dim, kernel_size=1),
        )


def channel_shuffle(
    x: Float[Tensor, "batch dim height width"], *, groups: int
) -> Float[Tensor, "batch dim height width"]:
    """Deal the channels of every group out over all groups (Zhang et al., 2018, sec. 3.1).

    To be read; ``torch.nn.functional.channel_shuffle`` does the same and keeps channels_last.

    Args:
        x: Map whose channels stand group by group.
        groups: Number of groups, a divisor of the number of channels.

    Raises:
        ValueError: If the channels do not fall into ``groups`` groups of one size.

    References:
        Zhang et al., 2018, https://arxiv.org/abs/1707.01083.

    Example:
        >>> x = torch.arange(6.0).view(1, 6, 1, 1)
        >>> channel_shuffle(x, groups=2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    if groups < 1 or x.shape[1] % groups != 0:
        raise ValueError(f"`groups` must divide the channels; got {groups} of {x.shape[1]}.")
    return rearrange(x, "b (group d) h w -> b (d group) h w", group=groups)


class ShuffledGroupConv2d(nn.Sequential):
    """Convolve within groups of channels, then shuffle (Zhang et al., 2018, sec. 3.1).

    A grouped convolution costs ``groups`` times less, but nothing passes from one group to another,
    however many are stacked. After the shuffle the next one's groups hold channels of all groups.
    For that ``out_dim`` must be at least ``groups`` squared.

    Args:
        dim: Channels of the input, a multiple of ``groups``.
        out_dim: Channels of the output, a multiple of ``groups``.
        groups: Number of groups.
        kernel_size: Side of the kernel, odd.

    Raises:
        ValueError: If ``groups`` divides ``dim`` or ``out_dim`` not, or ``kernel_size`` is even.

    References:
        Zhang et al., 2018, https://arxiv.org/abs/1707.01083.

    Example:
        >>> layer = ShuffledGroupConv2d(6, 12, groups=3)
        >>> layer(torch.zeros(1, 6, 5, 5)).shape, layer[0].weight.numel()
        (torch.Size([1, 12, 5, 5]), 24)
    """

    def __init__(self, dim: int, out_dim: int, *, groups: int, kernel_size: int = 1) -> None:
        padding = _same_padding(kernel_size)
        super().__init__(
            nn.Conv2d(dim, out_dim, kernel_size, padding=padding, groups=groups),
            nn.ChannelShuffle(groups),
        )


class PixelShuffleUpsampling(nn.Sequential):
    """Convolve 3 x 3 to ``factor**2`` times the channels, then lay them out as pixels (ESPCN).

    The same map as a transposed convolution with that stride and a kernel of ``3 * factor``. With
    random weights the pixels that one cell becomes have nothing to do with one another, which shows
    as a checkerboard. Here they start equal (ICNR): a new layer is its convolution, upsampled by
    repeating pixels.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        factor: How many times larger the output is along each side.

    References:
        Shi et al., 2016, https://arxiv.org/abs/1609.05158. Aitken et al., 2017,
        https://arxiv.org/abs/1707.02937.

    Example:
        >>> PixelShuffleUpsampling(8, 3, factor=2)(torch.zeros(1, 8, 5, 6)).shape
        torch.Size([1, 3, 10, 12])
    """

    def __init__(self, dim: int, out_dim: int, *, factor: int) -> None:
        convolution = nn.Conv2d(dim, out_dim * factor**2, kernel_size=3, padding=1)
        super().__init__(convolution, nn.PixelShuffle(factor))
        assert convolution.bias is not None
        with torch.no_grad():
            for parameter in (convolution.weight, convolution.bias):
                # What becomes the pixels of one output channel stands side by side.
                parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, dim=0))


def _same_padding(kernel_size: int) -> int:
    """Return the padding that keeps the size at stride 1."""
    if kernel_size % 2 != 1:
        raise ValueError(f"`kernel_size` must be odd, to be padded evenly; got {kernel_size}.")
    return kernel_size // 2
