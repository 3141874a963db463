"""What one cell of a feature map can see: receptive fields, and the holes of dilated stacks.

All along one axis, except the map of how often each pixel is used. Sources: Dumoulin and Visin,
2016, https://arxiv.org/abs/1603.07285; Araujo, Norris and Sim, 2019, "Computing receptive fields of
convolutional neural networks", https://distill.pub/2019/computing-receptive-fields; Wang et al.,
2018, "Understanding convolution for semantic segmentation", https://arxiv.org/abs/1702.08502.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from eyehand.functional.convolution import effective_kernel_size


class Kernel(NamedTuple):
    """A convolution or pooling layer along one axis, as far as geometry goes."""

    kernel_size: int
    """Taps, at least 1."""
    stride: int = 1
    """Cells of its input from one of its cells to the next, at least 1."""
    padding: int = 0
    """Cells added on the near side, at least 0; those on the far side move nothing."""
    dilation: int = 1
    """Cells from one tap to the next, at least 1."""


class ReceptiveField(NamedTuple):
    """Which pixels the cells of a feature map can see along one axis.

    Pixel ``i`` has its centre at ``i``, so the picture begins at -0.5. Cell ``c`` has its centre at
    ``centre + c * jump`` and sees the ``size`` pixels from ``start + c * jump`` on.
    """

    size: int
    """Pixels from the first to the last that a cell can see, in holes and padding too."""
    jump: int
    """Pixels from one cell to the next: the strides so far, multiplied."""
    centre: float
    """Centre of the first cell, in pixels."""

    @property
    def start(self) -> int:
        """First pixel of the first cell; negative in the padding."""
        return int(self.centre - (self.size - 1) / 2)


def receptive_field(kernels: Sequence[Kernel]) -> ReceptiveField:
    r"""What a cell sees through a chain of layers (Araujo et al., 2019, single-path networks).

    With size 1, jump 1 and centre 0 for the picture itself, each layer of stride :math:`s` makes

    .. math:: \text{size} \mathrel{+}= (\hat k - 1)\,\text{jump}, \qquad
              \text{centre} \mathrel{+}= \Big(\frac{\hat k - 1}{2} - p\Big)\,\text{jump}, \qquad
              \text{jump} \mathrel{\times}= s

    in this order: a stride widens only what comes *after* it. Padding leaves the size alone and
    moves the centre; odd kernels padded by half keep it at 0. Most of the field has little weight
    (Luo et al., 2016, https://arxiv.org/abs/1701.04128), and a dilated stack may have holes in it
    (`usage_map`).

    Where branches meet, the field is the union of theirs: ask for each path from the input.

    Args:
        kernels: Those of the layers, from the input on; without any, the field of a pixel.

    Raises:
        ValueError: If a kernel, stride or dilation is less than 1, or a padding negative.

    Example:
        >>> stem = [Kernel(7, stride=2, padding=3), Kernel(3, stride=2, padding=1)]
        >>> receptive_field(stem)
        ReceptiveField(size=11, jump=4, centre=0.0)
        >>> receptive_field(stem).start
        -5
    """
    size, jump, centre = 1, 1, 0.0
    for kernel in kernels:
        reach = effective_kernel_size(kernel.kernel_size, dilation=kernel.dilation) - 1
        if kernel.stride < 1 or kernel.padding < 0:
            raise ValueError(
                f"A kernel needs a stride of at least 1 and a padding of at least 0. Got {kernel}."
            )
        size += reach * jump
        centre += (reach / 2 - kernel.padding) * jump
        jump *= kernel.stride
    return ReceptiveField(size, jump, centre)


def usage_map(dilations: Sequence[int], *, kernel_size: int) -> Int64[np.ndarray, "height width"]:
    """Count how often one output of a stack of dilated convolutions uses each pixel it can see.

    The layers have square kernels and stride 1. A count is the number of paths from the pixel to
    the output: the gradient, were every weight 1. Zeros are holes: gridding. Even without holes the
    middle counts far more than the rim. The order of the layers makes no difference.

    Args:
        dilations: One per layer, each at least 1.
        kernel_size: Taps of every kernel along each axis, at least 1.

    Returns:
        Counts over the receptive field; they add up to ``kernel_size ** (2 * len(dilations))``.

    Raises:
        ValueError: If an argument is less than 1, or the counts may not fit into 64 bits.

    Example:
        >>> usage_map([2, 2], kernel_size=2)
        array([[1, 0, 2, 0, 1],
               [0, 0, 0, 0, 0],
               [2, 0, 4, 0, 2],
               [0, 0, 0, 0, 0],
               [1, 0, 2, 0, 1]])
    """
    if kernel_size ** (2 * len(dilations)) > np.iinfo(np.int64).max:
        raise ValueError(
            "The paths through a stack must be few enough to count in 64 bits. "
            f"Got {len(dilations)} layers of kernel_size={kernel_size}."
        )
    line = np.ones(1, dtype=np.int64)
    for dilation in dilations:
        taps = np.zeros(effective_kernel_size(kernel_size, dilation=dilation), dtype=np.int64)
        taps[::dilation] = 1
        line = np.convolve(line, taps)
    return np.outer(line, line)


def has_gridding(dilations: Sequence[int], *, kernel_size: int) -> bool:
    """Return whether a stack of dilated convolutions leaves out pixels of its receptive field.

    The exact verdict: whether `usage_map` holds a zero, a hole or a missing edge. The rule of Wang
    et al. (2018) is a bound; `hybrid_dilation` says where the two part. Arguments are those of
    `unused_share`.

    Raises:
        ValueError: If an argument is less than 1.

    Example:
        >>> has_gridding([2, 2, 2], kernel_size=3), has_gridding([1, 2, 5], kernel_size=3)
        (True, False)
    """
    return unused_share(dilations, kernel_size=kernel_size) > 0


def unused_share(dilations: Sequence[int], *, kernel_size: int) -> float:
    """Return the share of its receptive field that a stack of dilated convolutions leaves out.

    The share of zeros in `usage_map`, of a stack of any depth: no paths are counted.

    Args:
        dilations: One per layer of stride 1, each at least 1, in any order.
        kernel_size: Taps of every kernel along each axis, at least 1.

    Returns:
        Share of the pixels of the square field, in [0, 1).

    Raises:
        ValueError: If an argument is less than 1.

    Example:
        >>> unused_share([2, 2], kernel_size=2)
        0.64
    """
    size, seen = 1, {0}
    for dilation in dilations:
        size += effective_kernel_size(kernel_size, dilation=dilation) - 1
        seen = {pixel + tap * dilation for pixel in seen for tap in range(kernel_size)}
    return 1 - (len(seen) / size) ** 2


def hybrid_dilation(dilations: Sequence[int]) -> tuple[int, ...]:
    r"""Bound the gaps between the pixels that a dilated stack uses (Wang et al., 2018, sec. 3.2).

    .. math:: M_i = \max(M_{i+1} - 2 r_i,\; 2 r_i - M_{i+1},\; r_i), \qquad M_n = r_n

    The paper asks for :math:`M_2 \le K`, with dilations that begin at 1 and have no common factor.
    :math:`M_i` is the most that layers ``i`` to ``n`` can leave between two pixels if kernels have
    3 taps or more; a first layer of dilation 1 closes gaps up to :math:`K`. Held against
    `usage_map`, over all small stacks (the tests repeat it):

    - With :math:`r_1 = 1` and :math:`K \ge 3` the rule is safe: where it holds there is no hole.
    - Without a dilation of 1 there always is one, next to the edge, even where :math:`M_2 \le K`:
      [2, 3] with :math:`K = 3`. A common factor is only a special case, [2, 2, 2].
    - It is not necessary. The map does not depend on the order and :math:`M_2` does: [1, 3, 2]
      breaks the rule, [1, 2, 3] keeps it. Sorted dilations with :math:`K = 3` agreed every time;
      larger kernels may break it without a hole, such as [1, 1, 7] with :math:`K = 4`.
    - It does not hold for :math:`K = 2`: [1, 1, 4] keeps it and has holes.

    Args:
        dilations: One per layer from the input on, each at least 1.

    Returns:
        :math:`M_1` to :math:`M_n`: the paper's :math:`M_2` is entry 1.

    Raises:
        ValueError: If a dilation is less than 1.

    Example:
        >>> hybrid_dilation([1, 2, 5])[1], hybrid_dilation([1, 2, 9])[1]
        (2, 5)
    """
    if min(dilations, default=1) < 1:
        raise ValueError(f"Dilations must be at least 1. Got {list(dilations)}.")
    gaps: list[int] = []
    for dilation in reversed(dilations):
        after = gaps[-1] if gaps else dilation
        gaps.append(max(after - 2 * dilation, 2 * dilation - after, dilation))
    return tuple(reversed(gaps))
