"""Uneven ground: how rough it is, and its height between the grid's points."""

import numpy as np
import pytest

from eyehand.functional.height_field import heights_at, rough_heights, roughness_of


@pytest.mark.parametrize("spacing", [0.1, 0.05])
def test_a_ground_is_as_rough_as_asked(spacing: float) -> None:
    drawn = [
        rough_heights(np.random.default_rng(seed), cells=90, spacing=spacing, roughness=0.3)
        for seed in (0, 0, 1)
    ]
    for heights in drawn:
        assert roughness_of(heights, spacing=spacing) == pytest.approx(0.3)
        assert heights.min() == 0
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_slope_of_a_third_is_rough_by_two_thirds() -> None:
    # Squares of a metre: both directions rise, so the corners are a third and a third apart.
    x = np.arange(60) * 0.1
    assert roughness_of((x[None] + x[:, None]) / 3, spacing=0.1) == pytest.approx(2 / 3)


def test_heights_between_the_points_are_interpolated() -> None:
    x = np.arange(5) - 2.0
    slope = 0.5 * x[None] + 0.25 * x[:, None]
    places = np.array([0.3, -1.7]), np.array([1.2, 0.4])
    found = heights_at(slope, *places, spacing=1.0)
    np.testing.assert_allclose(found, 0.5 * places[0] + 0.25 * places[1])
    beyond = heights_at(slope, np.array([9.0]), np.array([0.0]), spacing=1.0)
    np.testing.assert_allclose(beyond, slope[2, 4])
