import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from eyehand.inspection.dimension import Factor, Tokens, carries
from eyehand.inspection.sight import (
    Sight,
    concatenate,
    expand,
    flip,
    flood,
    join,
    pick,
    place,
    read,
    repeat,
    replace_dims,
    reshape,
    sight,
    slide,
    still,
    straight,
    take,
    widen,
)

Pair = tuple[Tensor, Sight]
"""What every element truly sees, one pixel or nothing (NaN), and what a `Sight` says."""


def row_of_patches() -> Pair:
    """A batch of 2, 3 channels, 4 rows of 6 cells: the rows are seen, 5 pixels apart."""
    truth = 10.0 + 5 * torch.arange(4.0).view(1, 1, 4, 1).expand(2, 3, 4, 6)
    dims = [still(2), still(3), (Factor(4, Fraction(5)),), still(6)]
    return truth, sight(dims, moving=(Fraction(10), Fraction(10)))


def merged(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    sizes = list(truth.shape)
    index = draw.randrange(len(sizes))
    if draw.random() < 0.5 and index + 1 < len(sizes):
        shape = [*sizes[:index], sizes[index] * sizes[index + 1], *sizes[index + 2 :]]
    else:
        part = draw.choice([n for n in range(1, sizes[index] + 1) if sizes[index] % n == 0])
        shape = [*sizes[:index], part, sizes[index] // part, *sizes[index + 1 :]]
    return truth.reshape(shape), reshape(x, shape)


def permuted(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    order = draw.sample(range(truth.ndim), truth.ndim)
    return truth.permute(order), replace_dims(x, [x.dims[index] for index in order])


def turned(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    index = draw.randrange(truth.ndim)
    return truth.flip(index), flip(x, index)


def sliced(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    index = draw.randrange(truth.ndim)
    size = truth.shape[index]
    start, step = draw.randrange(size), draw.choice([1, 1, 1, 2])
    stop = draw.randint(start + 1, size)
    count = len(range(start, stop, step))
    part = (*[slice(None)] * index, slice(start, stop, step))
    return truth[part], take(x, index, start, count, step=step)


def selected(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    if truth.ndim == 1:
        return pair
    index = draw.randrange(truth.ndim)
    position = draw.randrange(truth.shape[index])
    return truth.select(index, position), pick(x, index, position)


def repeated(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    index = draw.randrange(truth.ndim)
    return truth.repeat_interleave(2, index), repeat(x, index, 2)


def padded(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    index, start, size = draw.randrange(truth.ndim), draw.randrange(3), draw.randrange(3)
    size += start + truth.shape[index]
    longer = truth.new_full((*truth.shape[:index], size, *truth.shape[index + 1 :]), torch.nan)
    longer.narrow(index, start, truth.shape[index]).copy_(truth)
    return longer, place(x, index, start, size)


def joined(pair: Pair, draw: random.Random) -> Pair:
    """Concatenate with something that sees nothing."""
    truth, x = pair
    index = draw.randrange(truth.ndim)
    other = torch.full_like(truth.narrow(index, 0, 1), torch.nan)
    pieces: list[tuple[Tensor, Sight | None]] = [(other, None), (truth, x)]
    draw.shuffle(pieces)
    together = concatenate([(seen, tensor.shape[index]) for tensor, seen in pieces], index)
    assert together is not None
    return torch.cat([tensor for tensor, _ in pieces], index), together


def broadcast(pair: Pair, draw: random.Random) -> Pair:
    truth, x = pair
    shape = (2, *(3 if size == 1 else size for size in truth.shape))
    return truth.expand(shape), expand(x, shape)


STEPS: list[Callable[[Pair, random.Random], Pair]] = [
    merged, merged, merged, permuted, turned, sliced, selected, repeated, padded, joined, broadcast,
]  # fmt: skip


def seen_at(x: Sight, index: tuple[int, ...]) -> tuple[float, float] | None:
    for dim in reversed(range(len(index))):
        x = pick(x, dim, index[dim])
    assert x.moving is None
    return None if x.fixed is None else (float(x.fixed[0]), float(x.fixed[1]))


def test_moves_are_sound_and_mostly_exact() -> None:
    exact = 0
    for seed in range(150):
        draw = random.Random(seed)
        pair = row_of_patches()
        for _ in range(draw.randint(1, 5)):
            pair = draw.choice(STEPS)(pair, draw)
            if pair[0].numel() > 2000:
                break
        truth, x = pair
        assert x.shape == tuple(truth.shape), seed
        tight = x.exact and x.fixed is None
        exact += tight
        indices = list(torch.ones_like(truth).nonzero().tolist())
        for index in draw.sample(indices, min(len(indices), 12)):
            want, got = float(truth[tuple(index)]), seen_at(x, tuple(index))
            if math.isnan(want):
                continue
            assert got is not None, (seed, index, x)
            assert got[0] <= want <= got[1], (seed, index, want, got, x)
            assert not tight or got == (want, want), (seed, index, want, got, x)
    assert exact > 75


def test_equal_ones_compare_equal() -> None:
    split = [(Factor(2, Fraction(6)), Factor(3, Fraction(2))), (Factor(1, Fraction(0)),)]
    whole = [(Factor(6, Fraction(2)),), ()]
    span = Fraction(0), Fraction(1)
    assert sight(split, moving=span) == sight(whole, moving=span)
    assert sight(whole, moving=span) != sight(whole, moving=(Fraction(0), Fraction(2)))
    # What does not change from place to place has no place.
    assert sight([still(4)], moving=span) == sight([still(4)], fixed=span)


def test_a_map_of_one_cell_keeps_its_jump() -> None:
    x = sight([(Factor(1, Fraction(32)),)], moving=(Fraction(0), Fraction(9)))
    assert x.carrying == (0,)
    assert flood(x, (1,)).carrying == ()
    assert slide(x, 0, 3, stride=1, low=-1, high=1).moving == (-32, 41)


def test_tokens_behind_a_class_token() -> None:
    grid = (Factor(2, Fraction(8)), Factor(3, Fraction(0)))
    x = sight([grid], moving=(Fraction(0), Fraction(7)))
    together = concatenate([(None, 1), (x, 6)], 0)
    assert together is not None
    assert together.dims == ((Tokens(7, 1, grid),),)
    assert carries(together.dims[0])
    assert pick(together, 0, 0).fixed is None
    assert pick(together, 0, 4).fixed == (8, 15)
    assert take(together, 0, 1, 6) == x
    assert widen(together, [0]).fixed == (0, 15)
    line = straight(together, 0)
    assert not line.exact
    for index in range(1, 7):
        low, high = seen_at(line, (index,))
        assert low <= 8 * ((index - 1) // 3)
        assert high >= 8 * ((index - 1) // 3) + 7


def test_windows_with_a_phase() -> None:
    x = sight([(Factor(4, Fraction(2)),)], moving=(Fraction(0), Fraction(2)))
    even = read(x, 0, [(0, 1), (2, 3)], stride=Fraction(2))
    assert even == sight([(Factor(2, Fraction(4)),)], moving=(Fraction(0), Fraction(4)))
    odd = read(x, 0, [(0, 1), (1, 3), (3, 3)], stride=Fraction(4, 3))
    assert not odd.exact
    for cell, (first, last) in enumerate([(0, 1), (1, 3), (3, 3)]):
        low, high = seen_at(odd, (cell,))
        assert low <= 2 * first
        assert high >= 2 * last + 2


def test_joins() -> None:
    def line(step: Fraction, low: int, high: int) -> Sight:
        return sight([(Factor(5, step),)], moving=(Fraction(low), Fraction(high)))

    whole, fixed = line(Fraction(2), 0, 4), sight([()], fixed=(Fraction(-3), Fraction(20)))
    assert join([None, None], (5,)) is None
    assert join([whole, None], (5,)) == whole
    assert join([whole, line(Fraction(2), -1, 3)], (5,)) == line(Fraction(2), -1, 4)
    gated = join([fixed, whole], (5,))
    assert gated is not None
    assert (gated.moving, gated.fixed, gated.exact) == ((0, 4), (-3, 20), True)
    # A skewed grid takes the simpler step, and an interval that holds both.
    skewed = join([line(Fraction(9, 4), 0, 1), whole], (5,))
    assert skewed is not None
    assert (skewed.dims, skewed.moving) == (whole.dims, (0, 4))
    assert not skewed.exact
    # Two that move along different dimensions: the second is seen whole.
    rows = replace_dims(whole, [*whole.dims, ()])
    columns = replace_dims(whole, [(), *whole.dims])
    scores = join([rows, columns], (5, 5))
    assert scores is not None
    assert (scores.carrying, scores.moving, scores.fixed) == ((0,), (0, 4), (0, 12))


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_nothing_to_see(shape: tuple[int, ...]) -> None:
    x = sight([(Factor(4, Fraction(1)),), ()], moving=(Fraction(0), Fraction(0)))
    assert reshape(x, shape).shape == shape
