"""Pooling arithmetic: how many cells a pooling layer makes, with and without ceil mode."""

from eyehand.functional.convolution import effective_kernel_size


def pooling_output_size(
    size: int,
    *,
    kernel_size: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    r"""Cells that a pooling layer makes of ``size`` pixels (Dumoulin and Visin, ch. 3).

    .. math:: o = \Big\lfloor \frac{i + 2p - \hat k}{s} \Big\rfloor + 1, \qquad
              \hat k = k + (k - 1)(r - 1)

    In ceil mode the fraction is rounded up, so that a last window may hang over the far edge and no
    pixel is dropped. The formula alone then counts too many: a window that would begin beyond the
    input, in the far padding, sees nothing and is left out. In ceil mode a kernel may be larger
    than the padded input, if it hangs over by less than the stride. (PyTorch's ``avg_pool3d`` alone
    refuses every kernel larger than the input, padded or not.)

    Args:
        size: Pixels of the input along this axis, at least 1.
        kernel_size: Taps of the window, at least 1.
        stride: Pixels from one window to the next, at least 1. PyTorch's default is the kernel
            size.
        padding: Pixels added on each of the two sides, from 0 to half of ``kernel_size``, so that
            every window sees a pixel. Dilation does not widen this limit.
        dilation: Pixels from one tap to the next, at least 1. Average pooling has none.
        ceil_mode: Round up instead of down.

    Raises:
        ValueError: If an argument is out of range, or no window fits.

    References:
        Dumoulin and Visin, 2016, https://arxiv.org/abs/1603.07285. Ceil mode: the note in
        https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html.

    Example:
        >>> pooling_output_size(112, kernel_size=3, stride=2)
        55
        >>> pooling_output_size(112, kernel_size=3, stride=2, ceil_mode=True)
        56

        The third of these windows would begin in the padding:

        >>> pooling_output_size(3, kernel_size=2, stride=2, padding=1, ceil_mode=True)
        2
    """
    span = effective_kernel_size(kernel_size, dilation=dilation)
    if size < 1 or stride < 1 or not 0 <= 2 * padding <= kernel_size:
        raise ValueError(
            "Pooling needs `size` and `stride` of at least 1 and `padding` from 0 to half of "
            f"`kernel_size`. Got size={size}, stride={stride}, padding={padding}, "
            f"kernel_size={kernel_size}."
        )
    room = size + 2 * padding - span + (stride - 1 if ceil_mode else 0)
    if room < 0:
        raise ValueError(
            "The effective kernel must fit into the padded input, or in ceil mode hang over by "
            f"less than the stride. Got kernel {span}, size={size}, padding={padding}, "
            f"stride={stride}, ceil_mode={ceil_mode}."
        )
    last = room // stride
    if ceil_mode and last * stride >= size + padding:
        last -= 1
    return last + 1
