"""A dimension of a tensor as a product of indices, each with its own step in pixels.

Like the strides of a storage, but counted in pixels of the picture, along one of its axes.
"""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

Span = tuple[Fraction, Fraction]
"""First and last pixel."""


class Factor(NamedTuple):
    """One index of those into which a dimension splits, the outermost first."""

    size: int
    step: Fraction
    """Pixels from one value of the index to the next; zero where it sees the same."""


class Tokens(NamedTuple):
    """Cells that begin somewhere in a dimension, such as the patches after a class token.

    What they see changes from one to the next.
    """

    size: int
    """Of the whole dimension."""
    start: int
    """Where the first cell is; negative if the first ones were cut off."""
    factors: tuple[Factor, ...]


Dim = tuple[Factor | Tokens, ...]


def still(size: int) -> Dim:
    """Return a dimension along which nothing changes."""
    return () if size == 1 else (Factor(size, Fraction(0)),)


def carries(dim: Dim) -> bool:
    """Whether what is seen changes along a dimension."""
    return any(isinstance(part, Tokens) or part.step for part in dim)


def shape_of(dims: Iterable[Dim]) -> list[int]:
    """Return the shape that dimensions make."""
    return [math.prod(part.size for part in dim) for dim in dims]


def tidy(dim: Dim) -> Dim:
    """Merge factors that continue one another, and drop those of one value."""
    parts: list[Factor | Tokens] = []
    for part in dim:
        outer = parts[-1] if parts else None
        if part.size == 1:
            continue
        if (
            isinstance(outer, Factor)
            and isinstance(part, Factor)
            and outer.step == part.step * part.size
        ):
            parts[-1] = Factor(outer.size * part.size, part.step)
        else:
            parts.append(part)
    # A map of one cell keeps its jump: it is known, though there is no second cell to show it.
    single = [part for part in dim if isinstance(part, Factor) and part.step]
    return tuple(parts) if parts or not single else (single[-1],)


def extent(dim: Dim) -> Span:
    """Return the least and the greatest that the indices of a dimension add to an interval."""
    low = high = Fraction(0)
    for part in dim:
        if isinstance(part, Tokens):
            near, far = extent(part.factors)
        else:
            near, far = sorted((Fraction(0), part.step * (part.size - 1)))
        low, high = low + near, high + far
    return low, high


def slope(dim: Dim) -> tuple[Fraction, Fraction, Fraction]:
    """Return the step of a dimension as one factor, and how far the true values lie around it."""
    if len(dim) == 1 and isinstance(dim[0], Tokens):
        step, low, high = slope(dim[0].factors)
        return step, low - step * dim[0].start, high - step * dim[0].start
    if any(isinstance(part, Tokens) for part in dim):
        return Fraction(0), *extent(dim)
    size, step, low, high = 1, Fraction(0), Fraction(0), Fraction(0)
    for part in reversed(dim):
        assert isinstance(part, Factor)
        outer = part.step / size
        near, far = sorted((Fraction(0), (step - outer) * (size - 1)))
        size, step, low, high = size * part.size, outer, low + near, high + far
    return step, low, high


def offset_at(dim: Dim, position: int) -> Fraction | None:
    """Return what one position of a dimension adds to an interval; None if it sees nothing."""
    total = Fraction(0)
    for part in reversed(dim):
        position, value = divmod(position, part.size)
        if isinstance(part, Factor):
            total += part.step * value
            continue
        inside = value - part.start
        if not 0 <= inside < math.prod(factor.size for factor in part.factors):
            return None
        offset = offset_at(part.factors, inside)
        assert offset is not None
        total += offset
    return total


def regroup(dims: Iterable[Dim], sizes: Iterable[int]) -> list[Dim] | None:
    """Distribute factors over dimensions of other sizes; None if one would have to break."""
    rest = list(reversed(tidy(tuple(part for dim in dims for part in dim))))
    result: list[Dim] = []
    for size in sizes:
        dim: list[Factor | Tokens] = []
        while size > 1:
            part = rest.pop()
            if size % part.size == 0:
                dim.append(part)
                size //= part.size
            elif isinstance(part, Factor) and part.size % size == 0:
                inner = part.size // size
                dim.append(Factor(size, part.step * inner))
                rest.append(Factor(inner, part.step))
                size = 1
            else:
                return None
        result.append(tuple(dim))
    return result
