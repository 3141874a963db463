"""Convolution arithmetic: output sizes, parameter counts, and the matrix that a convolution is.

Sizes are per axis: call once for the height and once for the width.

Source: Dumoulin and Visin, 2016, "A guide to convolution arithmetic for deep learning",
https://arxiv.org/abs/1603.07285.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def effective_kernel_size(kernel_size: int, *, dilation: int) -> int:
    r"""Pixels from the first to the last tap of a dilated kernel (Dumoulin and Visin, sec. 5.1).

    .. math:: \hat k = k + (k - 1)(r - 1)

    The kernel spans that many pixels and still reads only ``kernel_size`` of them. A dilation of 1
    is an ordinary kernel; a dilation of 2 leaves one pixel between two taps, not two.

    Args:
        kernel_size: Taps of the kernel, at least 1.
        dilation: Pixels from one tap to the next, at least 1.

    Returns:
        The span in pixels.

    Raises:
        ValueError: If an argument is less than 1.

    Example:
        >>> effective_kernel_size(3, dilation=1), effective_kernel_size(3, dilation=4)
        (3, 9)
    """
    if kernel_size < 1 or dilation < 1:
        raise ValueError(
            "`kernel_size` and `dilation` must be at least 1. "
            f"Got kernel_size={kernel_size}, dilation={dilation}."
        )
    return kernel_size + (kernel_size - 1) * (dilation - 1)


def convolution_output_size(
    size: int, *, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    r"""Cells that a convolution makes of ``size`` pixels (Dumoulin and Visin, relationship 15).

    .. math:: o = \Big\lfloor \frac{i + 2p - \hat k}{s} \Big\rfloor + 1, \qquad
              \hat k = k + (k - 1)(r - 1)

    The floor drops pixels: where the stride does not divide, the last ones are never read, and
    several input sizes give the same output size.

    Args:
        size: Pixels of the input along this axis, at least 1.
        kernel_size: Taps of the kernel, at least 1.
        stride: Pixels from one cell to the next, at least 1.
        padding: Pixels added on each of the two sides, at least 0.
        dilation: Pixels from one tap to the next, at least 1.

    Returns:
        Cells of the output along this axis.

    Raises:
        ValueError: If an argument is out of range, or the kernel larger than the padded input.

    Example:
        >>> convolution_output_size(224, kernel_size=7, stride=2, padding=3)
        112
        >>> convolution_output_size(223, kernel_size=7, stride=2, padding=3)
        112
    """
    span = effective_kernel_size(kernel_size, dilation=dilation)
    _check_size_stride_padding(size, stride, padding)
    if span > size + 2 * padding:
        raise ValueError(
            "The effective kernel must fit into the padded input. "
            f"Got kernel {span}, size={size}, padding={padding}."
        )
    return (size + 2 * padding - span) // stride + 1


def transposed_convolution_output_size(
    size: int,
    *,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    r"""Pixels that a transposed convolution makes of ``size`` cells (relationship 14, dilated).

    .. math:: o' = s(i' - 1) + a + \hat k - 2p, \qquad \hat k = k + (k - 1)(r - 1)

    ``stride``, ``padding`` and ``dilation`` are those of the convolution that it transposes, so
    padding makes the output *smaller*. ``output_padding`` is no padding either: it chooses among
    the ``stride`` input sizes that this convolution maps to ``size``. The one that leads back to
    ``i`` pixels is :math:`a = (i + 2p - \hat k) \bmod s`.

    Args:
        size: Cells of the input along this axis, at least 1.
        kernel_size: Taps of the kernel, at least 1.
        stride: Pixels from one cell to the next, at least 1.
        padding: Pixels cut from each of the two sides, at least 0.
        output_padding: Pixels added on the far side, at least 0 and less than the larger of
            ``stride`` and ``dilation``.
        dilation: Pixels from one tap to the next, at least 1.

    Returns:
        Pixels of the output along this axis.

    Raises:
        ValueError: If an argument is out of range, or nothing is left after cutting.

    Example:
        >>> transposed_convolution_output_size(112, kernel_size=7, stride=2, padding=3)
        223
        >>> transposed_convolution_output_size(
        ...     112, kernel_size=7, stride=2, padding=3, output_padding=1
        ... )
        224
    """
    span = effective_kernel_size(kernel_size, dilation=dilation)
    _check_size_stride_padding(size, stride, padding)
    if not 0 <= output_padding < max(stride, dilation):
        raise ValueError(
            "`output_padding` must be at least 0 and less than the larger of `stride` and "
            f"`dilation`. Got output_padding={output_padding}, stride={stride}, "
            f"dilation={dilation}."
        )
    pixels = (size - 1) * stride + span - 2 * padding + output_padding
    if pixels < 1:
        raise ValueError(
            "A transposed convolution must leave at least 1 pixel. "
            f"Got {pixels} from size={size}, effective kernel {span}, padding={padding}."
        )
    return pixels


def convolution_parameters(
    channels: int,
    out_channels: int,
    *,
    kernel_size: int | tuple[int, ...],
    groups: int = 1,
    bias: bool = True,
) -> int:
    r"""Weights and biases of a convolution, transposed or not.

    .. math:: \frac{c_\text{in}}{g}\, c_\text{out} \prod_a k_a \;+\; c_\text{out}

    Groups divide the weights and not the biases: a depthwise convolution (``groups=channels``) has
    one small kernel and one bias per channel. Dilation costs no parameters.

    Args:
        channels: Channels of the input, a multiple of ``groups``.
        out_channels: Channels of the output, a multiple of ``groups``.
        kernel_size: Taps along each axis, each at least 1. One number means a square kernel in two
            dimensions; for one dimension pass a tuple of one.
        groups: Parts into which the channels are split, at least 1.
        bias: One bias per output channel. Leave it out where a normalisation follows.

    Returns:
        Number of parameters.

    Raises:
        ValueError: If an argument is less than 1, or ``groups`` does not divide both channels.

    Example:
        >>> convolution_parameters(64, 128, kernel_size=3, bias=False)
        73728
        >>> convolution_parameters(64, 64, kernel_size=3, groups=64)
        640
    """
    taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    if min(channels, out_channels, groups, *taps) < 1:
        raise ValueError(
            "Channels, groups and kernel must be at least 1. Got "
            f"channels={channels}, out_channels={out_channels}, groups={groups}, "
            f"kernel_size={kernel_size}."
        )
    if channels % groups or out_channels % groups:
        raise ValueError(
            "`groups` must divide the channels of input and output. "
            f"Got groups={groups}, channels={channels}, out_channels={out_channels}."
        )
    return channels // groups * out_channels * math.prod(taps) + (out_channels if bias else 0)


def convolution_matrix(
    weight: Float[Tensor, "out in kernel_height kernel_width"],
    *,
    height: int,
    width: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Float[Tensor, "cell pixel"]:
    r"""Return the sparse matrix that equals a convolution (Dumoulin and Visin, 2016, sec. 4.1).

    ``matrix @ image.flatten()`` is ``F.conv2d(image, weight)``, flattened; ``matrix.T @ map`` is
    ``F.conv_transpose2d(map, weight)``, which is also the gradient of the convolution with respect
    to its input. Against a full connection, all rows share the same few numbers: local, and shared.

    The transpose brings back the shape and not the values. A 3x3 kernel makes 4 cells of 4x4
    pixels; its matrix :math:`A` has 4 rows, so :math:`A^T A` has rank 4 at most and cannot be the
    16x16 identity: different images share one map, and no operator can tell them apart. Where
    padding makes :math:`A` square, an inverse usually exists, and the transpose is still not it,
    unless :math:`A` happens to be orthogonal. So "deconvolution" is a misnomer.

    Args:
        weight: Kernels, as `torch.nn.Conv2d` stores them.
        height: Rows of the image, at least 1.
        width: Columns of the image, at least 1.
        stride: Pixels from one cell to the next along both axes, at least 1.
        padding: Pixels of zeros on each of the four sides, at least 0.
        dilation: Pixels from one tap to the next along both axes, at least 1.

    Returns:
        A coalesced sparse COO matrix: one row per output channel and cell, one column per input
        channel and pixel, both in the order of ``flatten``. Taps in the padding are left out.

    Raises:
        ValueError: If an argument is out of range, or the kernel larger than the padded image.

    Example:
        >>> matrix = convolution_matrix(torch.ones(1, 1, 2, 2), height=3, width=3)
        >>> matrix.shape
        torch.Size([4, 9])
        >>> cells = matrix @ torch.eye(3).flatten()
        >>> cells
        tensor([2., 1., 1., 2.])
        >>> (matrix.T @ cells).view(3, 3)
        tensor([[2., 3., 1.],
                [3., 6., 3.],
                [1., 3., 2.]])
    """
    out_channels, channels, *kernel = weight.shape
    rows, columns = (
        convolution_output_size(
            size, kernel_size=taps, stride=stride, padding=padding, dilation=dilation
        )
        for size, taps in zip((height, width), kernel, strict=True)
    )
    pixels, cells = channels * height * width, rows * columns
    # Unfolding an image of pixel numbers says which pixel each tap of each cell reads; counting
    # from 1 sets the zeros of the padding apart.
    number = torch.arange(1, pixels + 1, dtype=torch.float64, device=weight.device)
    unfolded = F.unfold(
        number.view(1, channels, height, width),
        tuple(kernel),
        dilation=dilation,
        padding=padding,
        stride=stride,
    )
    pixel = unfolded.long() - 1
    cell = torch.arange(out_channels * cells, device=weight.device).view(out_channels, 1, cells)
    value = weight.flatten(1).unsqueeze(2)
    cell, pixel, value = torch.broadcast_tensors(cell, pixel, value)
    inside = pixel >= 0
    return torch.sparse_coo_tensor(
        torch.stack([cell[inside], pixel[inside]]),
        value[inside],
        (out_channels * cells, pixels),
        check_invariants=True,
    ).coalesce()


def _check_size_stride_padding(size: int, stride: int, padding: int) -> None:
    """Check the arguments that both directions share."""
    if size < 1 or stride < 1 or padding < 0:
        raise ValueError(
            "`size` and `stride` must be at least 1 and `padding` at least 0. "
            f"Got size={size}, stride={stride}, padding={padding}."
        )
