"""Fields against the pixels that have a gradient in torch; the rule of Wang et al. against maps."""

from itertools import combinations_with_replacement, permutations, product
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from eyehand.functional.receptive_field import (
    Kernel,
    ReceptiveField,
    has_gridding,
    hybrid_dilation,
    receptive_field,
    usage_map,
)

WINDOW = st.builds(
    Kernel,
    kernel_size=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)


@settings(deadline=None)
@given(st.lists(WINDOW, max_size=4))
def test_the_field_is_where_the_gradient_is(windows: list[Kernel]) -> None:
    """Two neighbouring cells that see no padding, through convolutions with weights of one."""
    field = receptive_field(windows)
    cell = max(0, ceil(-field.start / field.jump))
    size = field.start + (cell + 1) * field.jump + field.size
    image = torch.zeros(1, 1, size, dtype=torch.float64, requires_grad=True)
    cells = image
    for kernel_size, stride, padding, dilation in windows:
        ones = torch.ones(1, 1, kernel_size, dtype=torch.float64)
        cells = F.conv1d(cells, ones, stride=stride, padding=padding, dilation=dilation)
    for offset in (0, 1):
        (gradient,) = torch.autograd.grad(cells[0, 0, cell + offset], image, retain_graph=True)
        seen = gradient[0, 0].nonzero().flatten().tolist()
        assert seen[-1] - seen[0] + 1 == field.size
        assert seen[0] == field.start + (cell + offset) * field.jump
        assert (seen[0] + seen[-1]) / 2 == field.centre + (cell + offset) * field.jump


def test_pooling_is_a_window_too() -> None:
    image = torch.rand(1, 1, 17, dtype=torch.float64, requires_grad=True)
    cells = F.avg_pool1d(F.max_pool1d(image, 3, stride=2, padding=1), 2, stride=2)
    field = receptive_field([Kernel(3, stride=2, padding=1), Kernel(2, stride=2)])
    assert field == ReceptiveField(size=5, jump=4, centre=1.0)
    (gradient,) = torch.autograd.grad(cells[0, 0, 2], image)
    seen = gradient[0, 0].nonzero().flatten()
    assert seen.min() >= field.start + 2 * field.jump
    assert seen.max() < field.start + 2 * field.jump + field.size


def test_the_picture_sees_itself() -> None:
    assert receptive_field([]) == ReceptiveField(size=1, jump=1, centre=0.0)


THREE = Kernel(3, padding=1)
HALVE = Kernel(2, stride=2)
ALEXNET = [
    Kernel(11, stride=4),
    Kernel(3, stride=2),
    Kernel(5, padding=2),
    Kernel(3, stride=2),
    THREE,
    THREE,
    THREE,
    Kernel(3, stride=2),
]


@pytest.mark.parametrize(
    ("windows", "size", "jump", "padding"),
    [
        (ALEXNET[:1], 11, 4, 0),
        (ALEXNET[:2], 19, 8, 0),
        (ALEXNET[:3], 51, 8, 16),
        (ALEXNET[:5], 99, 16, 32),
        (ALEXNET, 195, 32, 64),
        ([*2 * [THREE, THREE, HALVE], *3 * [THREE, THREE, THREE, HALVE]], 212, 32, 90),
    ],
)
def test_published_fields(windows: list[Kernel], size: int, jump: int, padding: int) -> None:
    """AlexNet v2 and VGG-16 in the table of Araujo et al., 2019.

    https://github.com/google-research/receptive_field/blob/master/receptive_field/RECEPTIVE_FIELD_TABLE.md
    """
    field = receptive_field(windows)
    assert (field.size, field.jump, -field.start) == (size, jump, padding)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Kernel(0), "kernel_size=0"),
        (Kernel(3, dilation=0), "dilation=0"),
        (Kernel(3, stride=0), "stride=0"),
        (Kernel(3, padding=-1), "padding=-1"),
    ],
)
def test_refuses_impossible_windows(window: Kernel, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        receptive_field([Kernel(3), window])


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
@pytest.mark.parametrize("dilations", [(), (1,), (3,), (2, 2), (1, 2, 5), (3, 1, 2)])
def test_the_usage_map_is_the_gradient_of_ones(
    dilations: tuple[int, ...], kernel_size: int
) -> None:
    ours = usage_map(dilations, kernel_size=kernel_size)
    size = receptive_field([Kernel(kernel_size, dilation=each) for each in dilations]).size
    image = torch.zeros(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    cells = image
    for dilation in dilations:
        ones = torch.ones(1, 1, kernel_size, kernel_size, dtype=torch.float64)
        cells = F.conv2d(cells, ones, dilation=dilation)
    (gradient,) = torch.autograd.grad(cells.sum(), image)  # of the only cell
    np.testing.assert_array_equal(ours, gradient[0, 0].numpy())


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), max_size=4), st.integers(1, 4))
def test_the_usage_map_counts_paths_in_any_order(dilations: list[int], kernel_size: int) -> None:
    counts = usage_map(dilations, kernel_size=kernel_size)
    assert counts.sum() == kernel_size ** (2 * len(dilations))
    np.testing.assert_array_equal(counts, counts.T)
    np.testing.assert_array_equal(counts, counts[::-1])
    np.testing.assert_array_equal(counts, usage_map(dilations[::-1], kernel_size=kernel_size))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
def test_gridding_is_a_zero_in_the_usage_map(kernel_size: int) -> None:
    for layers in (1, 2, 3):
        for dilations in product(range(1, 6), repeat=layers):
            holes = bool((usage_map(dilations, kernel_size=kernel_size) == 0).any())
            assert has_gridding(dilations, kernel_size=kernel_size) is holes, dilations


def test_the_recurrence_of_the_paper() -> None:
    """The two examples of Wang et al., 2018, sec. 3.2, and a falling stack by hand."""
    assert hybrid_dilation([1, 2, 5]) == (1, 2, 5)
    assert hybrid_dilation([1, 2, 9]) == (3, 5, 9)
    assert hybrid_dilation([3, 1]) == (5, 1)
    assert hybrid_dilation([3]) == (3,)
    assert hybrid_dilation([]) == ()


@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_the_rule_is_safe_with_a_dilation_of_one_first(kernel_size: int) -> None:
    kept = 0
    for layers in (2, 3, 4):
        for later in product(range(1, 7), repeat=layers - 1):
            if hybrid_dilation((1, *later))[1] <= kernel_size:
                assert not has_gridding((1, *later), kernel_size=kernel_size), later
                kept += 1
    assert kept > 90


@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_the_recurrence_bounds_every_gap(kernel_size: int) -> None:
    for dilations in product(range(1, 7), repeat=3):
        (used,) = usage_map(dilations, kernel_size=kernel_size)[0].nonzero()
        assert np.diff(used).max() <= hybrid_dilation(dilations)[0], dilations


def test_the_rule_is_exact_for_sorted_dilations_of_three_by_three_kernels() -> None:
    verdicts = []
    for layers in (2, 3, 4):
        for dilations in combinations_with_replacement(range(1, 11), layers):
            kept = dilations[0] == 1 and hybrid_dilation(dilations)[1] <= 3
            assert kept is not has_gridding(dilations, kernel_size=3), dilations
            verdicts.append(kept)
    assert 50 < sum(verdicts) < len(verdicts) - 50


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
def test_without_a_dilation_of_one_there_is_always_a_hole(kernel_size: int) -> None:
    for layers in (1, 2, 3):
        for dilations in product(range(2, 8), repeat=layers):
            assert has_gridding(dilations, kernel_size=kernel_size), dilations


@pytest.mark.parametrize(
    ("dilations", "kernel_size", "rule_kept", "gridding"),
    [
        ((2, 3), 3, True, True),  # no dilation of 1
        ((2, 2, 2), 3, True, True),  # nor here, the paper's common factor
        ((1, 3, 2), 3, False, False),  # not sorted
        ((1, 2, 3), 3, True, False),
        ((1, 1, 7), 4, False, False),  # a larger kernel
        ((1, 1, 4), 2, True, True),  # a smaller one
    ],
)
def test_where_the_rule_and_the_map_part(
    dilations: tuple[int, ...], kernel_size: int, rule_kept: bool, gridding: bool
) -> None:
    assert (hybrid_dilation(dilations)[1] <= kernel_size) is rule_kept
    for order in permutations(dilations):
        assert has_gridding(order, kernel_size=kernel_size) is gridding


def test_refuses_impossible_dilations() -> None:
    with pytest.raises(ValueError, match=r"at least 1. Got \[1, 0\]"):
        hybrid_dilation([1, 0])
    with pytest.raises(ValueError, match="dilation=0"):
        usage_map([1, 0], kernel_size=3)
    with pytest.raises(ValueError, match="kernel_size=0"):
        has_gridding([1, 2], kernel_size=0)


def test_refuses_to_count_beyond_64_bits() -> None:
    assert usage_map([1] * 19, kernel_size=3).sum() == 3**38
    with pytest.raises(ValueError, match="Got 20 layers of kernel_size=3"):
        usage_map([1] * 20, kernel_size=3)
