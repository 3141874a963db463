"""Rules of operators that slide a window: convolution, pooling, interpolation, unfolding."""

import math
from collections.abc import Sequence
from fractions import Fraction

from eyehand.inspection.dimension import Factor
from eyehand.inspection.operator_call import Call, Outcome, table
from eyehand.inspection.sight import (
    Sight,
    flood,
    join,
    read,
    repeat,
    replace_dims,
    reshape,
    resize,
    slide,
    step_along,
    straight,
    widen,
)


def convolution(call: Call) -> Outcome:
    """Sum over channels, groups notwithstanding, and over the taps of a kernel."""
    others = [flood(x, call.shape) for x in call.sights(but=["input"])]
    x = call.sight("input")
    if x is None:
        return join(others, call.shape)
    x = widen(x, [1])
    x = resize(x, [x.shape[0], call.shape[1], *x.shape[2:]])
    for axis, kernel_size in enumerate(call.arguments["weight"].shape[2:]):
        x = _convolved(x, call, axis, kernel_size)
    return join([x, *others], call.shape)


def _convolved(x: Sight, call: Call, axis: int, kernel_size: int) -> Sight:
    stride, padding = call.setting("stride", axis), call.setting("padding", axis)
    reach = call.setting("dilation", axis) * (kernel_size - 1)
    index, size = axis + 2, call.shape[axis + 2]
    if call.arguments["transposed"]:
        return _transposed(x, index, size, stride=stride, padding=padding, reach=reach)
    return slide(x, index, size, stride=stride, low=-padding, high=reach - padding)


def _transposed(x: Sight, index: int, size: int, *, stride: int, padding: int, reach: int) -> Sight:
    """Let output ``o`` read inputs from ``(o + padding - reach) / stride`` on.

    The last is ``(o + padding) / stride``. Which cells lie between depends on an output's place in
    a stride: the hull over all is taken, except where all outputs of a stride read the same cells.
    """
    cells = [(-((reach - padding - o) // stride), (o + padding) // stride) for o in range(stride)]
    if stride > 1 and len(set(cells)) == 1 and size % stride == 0:
        first, last = cells[0]
        x = slide(x, index, size // stride, stride=1, low=first, high=last)
        return repeat(x, index, stride)
    # A kernel shorter than the stride leaves cells that read nothing.
    reading = [(o, *cell) for o, cell in enumerate(cells) if cell[0] <= cell[1]]
    low = min(first - Fraction(o, stride) for o, first, _ in reading)
    high = max(last - Fraction(o, stride) for o, _, last in reading)
    seen = slide(x, index, size, stride=Fraction(1, stride), low=low, high=high)
    return seen._replace(exact=seen.exact and stride == 1)


def pool(call: Call) -> Outcome:
    """Read a window of each channel."""
    (x,) = call.sights()
    count = len(call.arguments["kernel_size"])
    for axis in range(count):
        kernel_size, stride, padding, dilation = pool_settings(call, axis)
        index, high = len(x.dims) - count + axis, dilation * (kernel_size - 1) - padding
        x = slide(x, index, call.shape[index], stride=stride, low=-padding, high=high)
    return x


def pool_settings(call: Call, axis: int) -> tuple[int, int, int, int]:
    """Return kernel size, stride, padding and dilation of a pooling along one dimension."""
    kernel_size = call.setting("kernel_size", axis)
    stride = call.setting("stride", axis) if call.arguments["stride"] else kernel_size
    dilation = call.setting("dilation", axis) if "dilation" in call.arguments else 1
    return kernel_size, stride, call.setting("padding", axis), dilation


def adaptive_pool(call: Call) -> Outcome:
    """Cut the map into a given number of parts, which overlap by a cell if it does not divide."""
    (x,) = call.sights()
    for index in range(len(x.dims) - len(call.arguments["output_size"]), len(x.dims)):
        old, new = x.shape[index], call.shape[index]
        cells = [(o * old // new, -(-(o + 1) * old // new) - 1) for o in range(new)]
        x = read(x, index, cells, stride=Fraction(old, new))
    return x


def upsample(call: Call) -> Outcome:
    """Interpolate, to a larger or a smaller map."""
    (x,) = call.sights()
    count = len(x.dims) - 2
    for axis in range(count):
        index, old, new = axis + 2, x.shape[axis + 2], call.shape[axis + 2]
        name = "scales" if count == 1 else "scales_" + "dhw"[3 - count + axis]
        scale = call.arguments.get(name)
        # The caller's scale counts, where there is one, not the ratio of the sizes.
        step = 1 / Fraction(scale).limit_denominator(10**6) if scale else Fraction(old, new)
        if call.arguments.get("align_corners"):
            step = Fraction(old - 1, max(new - 1, 1))
        if "nearest" in call.name and new % old == 0 and step == Fraction(old, new):
            x = repeat(x, index, new // old)
        else:
            x = read(x, index, [_samples(call, o, step) for o in range(new)], stride=step)
    return x


def _samples(call: Call, cell: int, step: Fraction) -> tuple[int, int]:
    """Return the first and the last cell that an interpolated one reads, clamping aside."""
    half = Fraction(1, 2)
    if "nearest" in call.name:
        source = math.floor((cell + (half if "exact" in call.name else 0)) * step)
        return source, source
    taps = 2 if "linear" in call.name else 4
    if call.name.endswith("_aa"):
        middle, radius = (cell + half) * step, half * taps * max(step, Fraction(1))
        return math.floor(middle - radius + half), math.floor(middle + radius + half) - 1
    place = cell * step if call.arguments["align_corners"] else (cell + half) * step - half
    first = math.floor(place)
    return (first, first) if place == first else (first + 1 - taps // 2, first + taps // 2)


def unfold_windows(call: Call) -> Outcome:
    """Write the windows of a map side by side: ``(batch, channels * taps, places)``."""
    x = call.sight("self")
    assert x is not None
    taps, places = [], []
    for axis in range(2):
        kernel_size, stride, padding, dilation = pool_settings(call, axis)
        index, old = axis + 2, x.shape[axis + 2]
        size = (old + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
        x = straight(x, index)
        step = step_along(x, index)
        x = slide(x, index, old, stride=1, low=-padding, high=-padding)
        taps.append(Factor(kernel_size, step * dilation))
        places.append(Factor(size, step * stride))
    return replace_dims(x, [x.dims[0], (*x.dims[1], *taps), tuple(places)])


def fold_windows(call: Call) -> Outcome:
    """Add windows up into a map: the transpose of `unfold_windows`."""
    x = call.sight("self")
    assert x is not None
    settings = [pool_settings(call, axis) for axis in range(2)]
    places: Sequence[int] = [
        (call.shape[axis + 2] + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
        for axis, (kernel_size, stride, padding, dilation) in enumerate(settings)
    ]
    x = resize(widen(x, [1]), (x.shape[0], call.shape[1], x.shape[2]))
    x = reshape(x, (*x.shape[:2], *places))
    for axis, (kernel_size, stride, padding, dilation) in enumerate(settings):
        index, reach = axis + 2, dilation * (kernel_size - 1)
        size = call.shape[index]
        x = _transposed(x, index, size, stride=stride, padding=padding, reach=reach)
    return x


def unfold(call: Call) -> Outcome:
    """Let windows of one dimension overlap, without a copy (``Tensor.unfold``)."""
    x = call.sight("self")
    assert x is not None
    index = call.arguments["dimension"] % len(x.dims)
    x = straight(x, index)
    step = step_along(x, index)
    dims = [*x.dims, (Factor(call.arguments["size"], step),)]
    dims[index] = (Factor(call.shape[index], step * call.arguments["step"]),)
    return replace_dims(x, dims)


RULES = table(
    (convolution, "convolution"),
    (
        pool,
        "max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d mkldnn_max_pool2d",
    ),
    (
        adaptive_pool,
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
    ),
    (
        upsample,
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d "
        "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa "
        "_upsample_bicubic2d_aa",
    ),
    (unfold_windows, "im2col"),
    (fold_windows, "col2im"),
    (unfold, "unfold"),
)
"""Operator to rule."""
