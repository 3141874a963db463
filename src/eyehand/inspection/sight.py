"""What every element of a tensor sees along one axis of the picture, in exact fractions.

The domain of an abstract interpretation: `eyehand.inspection.rules` moves it through operators. An
element sees an interval that moves with its indices, another that does not, or both: a feature map
after squeeze-and-excitation sees its window, and the whole picture besides. The interval that moves
is affine in the indices, like an address in the storage of a strided tensor: every dimension is a
product of factors, each with its own step in pixels. So ``view`` and ``permute`` lose nothing, a
sequence of patches still knows its rows, and cells of a picture enlarged to the double come in
pairs. Where no affine interval fits, the smallest one that holds all is taken (``exact`` is False).
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from eyehand.inspection.dimension import (
    Dim,
    Factor,
    Span,
    Tokens,
    extent,
    offset_at,
    regroup,
    shape_of,
    slope,
    still,
    tidy,
)

ZERO = Fraction(0)


class Sight(NamedTuple):
    """What the elements of a tensor see along one axis: make it with `sight`.

    Example:
        >>> row = sight([still(3), (Factor(8, Fraction(2)),)], moving=(ZERO, Fraction(4)))
        >>> row.shape, pick(row, 1, 3).fixed
        ((3, 8), (Fraction(6, 1), Fraction(10, 1)))
    """

    dims: tuple[Dim, ...]
    moving: Span | None
    """What the element with indices 0 sees in its own place; None if the place makes no change."""
    fixed: Span | None
    """What every element sees; None if nothing."""
    exact: bool
    shape: tuple[int, ...]
    """Shape of the tensor."""
    carrying: tuple[int, ...]
    """Dimensions along which what is seen moves."""


def sight(
    dims: Iterable[Dim],
    *,
    moving: Span | None = None,
    fixed: Span | None = None,
    exact: bool = True,
) -> Sight:
    """Return a `Sight` in its simplest form: equal ones compare equal."""
    # Written out, where helpers would be clearer: this runs several times for every operator.
    simple = [dim if not dim or (len(dim) == 1 and dim[0].size > 1) else tidy(dim) for dim in dims]
    carrying = [
        index
        for index, dim in enumerate(simple)
        if any(isinstance(part, Tokens) or part.step for part in dim)
    ]
    shape = tuple(math.prod([part.size for part in dim]) for dim in simple)
    if moving is None or not carrying:
        fixed = fixed if moving is None else hull(moving, fixed)
        simple = [() if size == 1 else (Factor(size, ZERO),) for size in shape]
        return Sight(tuple(simple), None, fixed, exact, shape, ())
    return Sight(tuple(simple), moving, fixed, exact, shape, tuple(carrying))


def hull(first: Span | None, second: Span | None) -> Span | None:
    """Return the smallest interval that holds both."""
    if first is None or second is None:
        return second if first is None else first
    return min(first[0], second[0]), max(first[1], second[1])


def widen(x: Sight, indices: Iterable[int]) -> Sight:
    """Let every element see what all along these dimensions see."""
    moved = [index for index in indices if index in x.carrying]
    if not moved:
        return x
    dims, low, high = list(x.dims), ZERO, ZERO
    for index in moved:
        near, far = extent(dims[index])
        dims[index], low, high = still(x.shape[index]), low + near, high + far
    return _moved(x, dims, low, high)


def flood(x: Sight, shape: Sequence[int]) -> Sight:
    """Return elements of which each sees what all of ``x`` see."""
    return resize(widen(x, x.carrying), shape)


def resize(x: Sight, shape: Sequence[int]) -> Sight:
    """Give another shape to a tensor that sees the same all along what changes in size."""
    if x.shape == tuple(shape):
        return x
    dims = x.dims if len(shape) == len(x.dims) else [()] * len(shape)
    sizes = x.shape if len(shape) == len(x.dims) else [1] * len(shape)
    return replace_dims(
        x, [dim if a == b else still(b) for dim, a, b in zip(dims, sizes, shape, strict=True)]
    )


def replace_dims(x: Sight, dims: Iterable[Dim]) -> Sight:
    """Return the same intervals with other dimensions."""
    return sight(dims, moving=x.moving, fixed=x.fixed, exact=x.exact)


def straight(x: Sight, index: int) -> Sight:
    """Make a dimension one factor, with the smallest interval that holds what was seen."""
    dim = x.dims[index]
    if index not in x.carrying or (len(dim) == 1 and isinstance(dim[0], Factor)):
        return x
    step, low, high = slope(dim)
    dims = _with(x, index, (Factor(x.shape[index], step),))
    return _moved(x, dims, low, high)._replace(exact=x.exact and low == high)


def step_along(x: Sight, index: int) -> Fraction:
    """Return the step of a dimension that is `straight`."""
    part = x.dims[index][0] if x.dims[index] else None
    return part.step if isinstance(part, Factor) else ZERO


def slide(
    x: Sight,
    index: int,
    size: int,
    *,
    stride: Fraction | int,
    low: Fraction | int,
    high: Fraction | int,
) -> Sight:
    """Let cell ``i`` of a dimension read the cells from ``stride * i + low`` to ``... + high``."""
    if stride == 1 and low == high == 0 and size == x.shape[index]:
        return x
    x = straight(x, index)
    if index not in x.carrying:
        return replace_dims(x, _with(x, index, still(size)))
    step = step_along(x, index)
    ends = step * low, step * high
    return _moved(x, _with(x, index, (Factor(size, step * stride),)), min(ends), max(ends))


def read(x: Sight, index: int, cells: Sequence[tuple[int, int]], *, stride: Fraction) -> Sight:
    """Let cell ``i`` read from the first to the last of ``cells[i]``, which grow by ``stride``."""
    lows = [first - stride * cell for cell, (first, _) in enumerate(cells)]
    highs = [last - stride * cell for cell, (_, last) in enumerate(cells)]
    seen = slide(x, index, len(cells), stride=stride, low=min(lows), high=max(highs))
    regular = min(lows) == max(lows) and min(highs) == max(highs)
    return seen._replace(exact=seen.exact and (regular or index not in x.carrying))


def repeat(x: Sight, index: int, times: int) -> Sight:
    """Let every cell of a dimension come ``times`` in a row."""
    dim = (*x.dims[index], Factor(times, ZERO))
    return replace_dims(x, _with(x, index, dim))


def reshape(x: Sight, shape: Sequence[int]) -> Sight:
    """Split and merge dimensions as ``view`` does."""
    old, new = list(x.shape), list(shape)
    if 0 in new:
        return flood(x, shape)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = x.dims[:start], x.dims[len(old) - end :]
    middle: list[Dim] = []
    i, j = start, start
    while i < len(old) - end or j < len(new) - end:
        first_old, first_new = i, j
        old_size = new_size = 1
        while True:  # the smallest groups of dimensions of the same size
            if i < len(old) - end and (old_size <= new_size or j == len(new) - end):
                old_size, i = old_size * old[i], i + 1
            elif j < len(new) - end:
                new_size, j = new_size * new[j], j + 1
            if old_size == new_size and (i > first_old or j > first_new):
                break
        dims = regroup(x.dims[first_old:i], new[first_new:j])
        if dims is None:
            x = widen(x, range(first_old, i))
            dims = [still(size) for size in new[first_new:j]]
        middle += dims
    return replace_dims(x, [*before, *middle, *after])


def expand(x: Sight, shape: Sequence[int]) -> Sight:
    """Broadcast to ``shape``."""
    if x.shape == tuple(shape):
        return x
    missing = len(shape) - len(x.dims)
    x = replace_dims(x, [*[()] * missing, *x.dims])
    spread = [index for index, size in enumerate(shape) if x.shape[index] != size]
    x = widen(x, spread)
    return replace_dims(
        x, [still(shape[i]) if i in spread else dim for i, dim in enumerate(x.dims)]
    )


def join(values: Iterable[Sight | None], shape: Sequence[int]) -> Sight | None:
    """Return elements that see what their counterparts in several tensors see, broadcast."""
    result: Sight | None = None
    for value in values:
        if value is not None:
            value = expand(value, shape)
            result = value if result is None else _join(result, value)
    return result


def concatenate(pieces: Sequence[tuple[Sight | None, int]], index: int) -> Sight | None:
    """Put tensors, each with its size along ``index``, one behind the other."""
    total = sum(size for _, size in pieces)
    moving = [x for x, _ in pieces if x is not None and index in x.carrying]
    placed: list[Sight] = []
    start = 0
    for x, size in pieces:
        if x is not None:
            alone = len(moving) == 1 and x is moving[0]
            x = x if alone else widen(x, [index])
            placed.append(place(x, index, start, total))
        start += size
    return join(placed, placed[0].shape) if placed else None


def place(x: Sight, index: int, start: int, size: int) -> Sight:
    """Put a tensor into a longer one, from ``start`` along a dimension; around it is nothing."""
    dim = x.dims[index]
    if len(dim) == 1 and isinstance(dim[0], Tokens):
        longer: Dim = (Tokens(size, dim[0].start + start, dim[0].factors),)
    elif index in x.carrying and len(dim) > 1:
        factors = tuple(part for part in dim if isinstance(part, Factor))
        if len(factors) < len(dim):
            return place(widen(x, [index]), index, start, size)
        longer = (Tokens(size, start, factors),)
    else:
        return slide(x, index, size, stride=1, low=-start, high=-start)
    return replace_dims(x, _with(x, index, longer))


def take(x: Sight, index: int, start: int, size: int, *, step: int = 1) -> Sight:
    """Slice a dimension."""
    dim = x.dims[index]
    if (start, size, step) == (0, x.shape[index], 1):
        return x
    if index not in x.carrying:
        return replace_dims(x, _with(x, index, still(size)))
    if size == 1 and (len(dim) > 1 or isinstance(dim[0], Tokens)):
        picked = pick(x, index, start)
        return replace_dims(picked, [*picked.dims[:index], (), *picked.dims[index:]])
    if step == 1 and len(dim) == 1 and isinstance(dim[0], Tokens):
        tokens = dim[0]
        offset = tokens.start - start
        count = math.prod(factor.size for factor in tokens.factors)
        shorter: Dim = (Tokens(size, offset, tokens.factors),)
        if (offset, size) == (0, count):
            shorter = tokens.factors
        return replace_dims(x, _with(x, index, shorter))
    if step == 1 and len(dim) > 1:
        return take(place(x, index, 0, x.shape[index]), index, start, size)
    return slide(x, index, size, stride=step, low=start, high=start)


def pick(x: Sight, index: int, position: int) -> Sight:
    """Select one position of a dimension, which goes away."""
    rest = [*x.dims[:index], *x.dims[index + 1 :]]
    offset = offset_at(x.dims[index], position)
    if offset is None:  # beside the cells, such as a class token
        return sight([still(size) for size in shape_of(rest)], fixed=x.fixed, exact=x.exact)
    return _moved(x, rest, offset, offset)


def flip(x: Sight, index: int) -> Sight:
    """Reverse a dimension."""
    last = x.shape[index] - 1
    return slide(x, index, last + 1, stride=-1, low=last, high=last)


def _with(x: Sight, index: int, dim: Dim) -> list[Dim]:
    return [*x.dims[:index], dim, *x.dims[index + 1 :]]


def _moved(x: Sight, dims: Iterable[Dim], low: Fraction, high: Fraction) -> Sight:
    moving = None if x.moving is None else (x.moving[0] + low, x.moving[1] + high)
    return sight(dims, moving=moving, fixed=x.fixed, exact=x.exact)


def _join(first: Sight, second: Sight) -> Sight:
    """Join two of the same shape."""
    fixed = hull(first.fixed, second.fixed)
    exact = first.exact and second.exact
    if first.moving is None or second.moving is None:
        leader = second if first.moving is None else first
        return sight(leader.dims, moving=leader.moving, fixed=fixed, exact=exact)
    if first.dims != second.dims:
        differ = [i for i, dim in enumerate(first.dims) if dim != second.dims[i]]
        if first.carrying != second.carrying:
            # They move along different dimensions, as the scores of attention do.
            everywhere = flood(second, second.shape).fixed
            return sight(
                first.dims, moving=first.moving, fixed=hull(fixed, everywhere), exact=exact
            )
        exact = False
        for index in differ:
            first, second = straight(first, index), straight(second, index)
            first, second = _aligned(first, second, index)
    if first.moving is None or second.moving is None:
        return _join(first, second)
    return sight(first.dims, moving=hull(first.moving, second.moving), fixed=fixed, exact=exact)


def _aligned(first: Sight, second: Sight, index: int) -> tuple[Sight, Sight]:
    """Write two intervals with the simpler of their two steps along a dimension."""
    own = [slope(x.dims[index])[0] for x in (first, second)]
    step = min((step for step in own if step), key=lambda s: s.denominator, default=ZERO)
    aligned = []
    for x, before in zip((first, second), own, strict=True):
        low, high = sorted((ZERO, (before - step) * (x.shape[index] - 1)))
        dims = _with(x, index, (Factor(x.shape[index], step),))
        aligned.append(_moved(x, dims, low, high))
    return aligned[0], aligned[1]
