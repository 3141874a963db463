"""Features: their numbers, what they can say, and that tiles cover the square once a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyehand.functional.value_features import fourier_features, polynomial_features, tile_features
from eyehand.types import InputError

SQUARE = np.random.default_rng(0).random((200, 2))


@pytest.mark.parametrize(("degree", "count"), [(0, 1), (1, 3), (2, 6), (3, 10), (5, 21)])
def test_polynomials_are_those_of_a_total_degree(degree: int, count: int) -> None:
    features = polynomial_features(SQUARE, degree=degree)
    assert features.shape == (200, count)
    assert np.linalg.matrix_rank(features) == count
    x, y = SQUARE.T
    wanted = (0.5 + x) ** max(degree - 1, 0) * (y - 2 if degree else 1)
    found = features @ np.linalg.lstsq(features, wanted, rcond=None)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_polynomial_of_too_low_a_degree_cannot() -> None:
    features = polynomial_features(SQUARE, degree=1)
    product = SQUARE[:, 0] * SQUARE[:, 1]
    error = features @ np.linalg.lstsq(features, product, rcond=None)[0] - product
    assert abs(error).max() > 0.1


@pytest.mark.parametrize("order", [0, 1, 3])
def test_every_wave_but_the_first_has_a_mean_square_of_one_half(order: int) -> None:
    """Over the square; in the middles of a fine grid of cells the mean is exact."""
    side = (np.arange(32) + 0.5) / 32
    cells = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    features = fourier_features(cells, order=order)
    assert features.shape == (1024, (order + 1) ** 2)
    assert abs(features).max() <= 1
    np.testing.assert_array_equal(features[:, 0], 1)
    np.testing.assert_allclose((features[:, 1:] ** 2).mean(axis=0), 0.5, atol=1e-12)


def test_a_wave_of_frequency_1_makes_half_a_turn() -> None:
    ends = fourier_features(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), order=1)
    np.testing.assert_allclose(ends, [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1]], atol=1e-12)


@given(st.integers(1, 8).filter(lambda count: count % 3), st.integers(1, 6), st.integers(0, 10_000))
def test_each_grid_of_tiles_has_every_state_once(tilings: int, tiles: int, seed: int) -> None:
    inside = np.random.default_rng(seed).random((20, 2))
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    state = np.concatenate([inside, corners])
    features = tile_features(state, tilings=tilings, tiles=tiles)
    assert features.shape == (24, tilings * (tiles + 1) ** 2)
    assert set(np.unique(features)) <= {0.0, 1.0}
    by_grid = features.reshape(24, tilings, -1).sum(axis=2)
    np.testing.assert_array_equal(by_grid, 1)


def test_near_states_share_more_tiles_than_far_ones() -> None:
    place = np.array([[0.5, 0.5], [0.58, 0.5], [0.7, 0.5], [0.95, 0.1]])
    features = tile_features(place, tilings=8, tiles=4)
    shared = features @ features[0]
    assert shared[0] == 8 > shared[1] > shared[2] > shared[3] == 0


def test_shifted_grids_tell_apart_what_one_grid_cannot() -> None:
    place = np.array([[0.05, 0.05], [0.2, 0.2]])
    one, two = tile_features(place, tilings=1, tiles=4)
    np.testing.assert_array_equal(one, two)
    one, two = tile_features(place, tilings=4, tiles=4)
    assert not np.array_equal(one, two)


def test_grids_are_shifted_by_1_and_3_parts_of_a_tile() -> None:
    """Four grids: shifts of 0, 1/4, 1/2, 3/4 to the right, and of 0, 3/4, 1/2, 1/4 down."""
    features = tile_features(np.array([[0.3, 0.3]]), tilings=4, tiles=1)
    rows_and_columns = [np.unravel_index(grid.argmax(), (2, 2)) for grid in features.reshape(4, 4)]
    assert [tuple(map(int, place)) for place in rows_and_columns] == [
        (0, 0),
        (1, 0),
        (0, 0),
        (0, 1),
    ]


@pytest.mark.parametrize("tilings", [1, 2, 4, 5, 7, 8, 16])
def test_no_two_grids_share_a_line(tilings: int) -> None:
    """Along either side, where the line between two tiles lies in each grid."""
    along = np.linspace(0, 1, 1000, endpoint=False)
    for state in (np.stack([along, 0 * along], axis=1), np.stack([0 * along, along], axis=1)):
        grids = tile_features(state, tilings=tilings, tiles=1).reshape(1000, tilings, 4)
        changes = (grids != grids[0]).any(axis=2).argmax(axis=0)
        assert len(set(changes.tolist())) == tilings


def test_errors_name_what_came() -> None:
    with pytest.raises(InputError, match=r"`degree` must be at least 0. Got -1"):
        polynomial_features(SQUARE, degree=-1)
    with pytest.raises(InputError, match=r"`order` must be at least 0. Got -2"):
        fourier_features(SQUARE, order=-2)
    with pytest.raises(InputError, match=r"`tilings` must be at least 1. Got 0"):
        tile_features(SQUARE, tilings=0, tiles=4)
    with pytest.raises(InputError, match=r"must not be a multiple of 3, .* Got 6"):
        tile_features(SQUARE, tilings=6, tiles=4)
    with pytest.raises(InputError, match=r"Got the state \[1.5, 0.0\]"):
        tile_features(np.array([[0.5, 0.5], [1.5, 0.0]]), tilings=1, tiles=4)
    with pytest.raises(InputError, match="Got the state"):
        tile_features(np.array([[np.nan, 0.0]]), tilings=1, tiles=4)
