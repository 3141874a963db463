"""Mazes: all cells are reached, walls keep their distance, and ways are the shortest."""

import numpy as np
import pytest
from scipy.ndimage import label

from eyehand.functional.maze import POINTS, THICK, clearance, draw_maze, read_at, ways_to


def openings(wall: np.ndarray, cells: int) -> int:
    """How many walls between two cells are missing."""
    middle = THICK + (POINTS - THICK) // 2
    return sum(
        int(not wall[y * POINTS + middle, x * POINTS])
        + int(not wall[x * POINTS, y * POINTS + middle])
        for y in range(cells)
        for x in range(1, cells)
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_cell_is_reached_by_exactly_one_way(seed: int) -> None:
    wall = draw_maze(np.random.default_rng(seed), cells=5, loops=0)
    assert label(~wall)[1] == 1
    assert openings(wall, 5) == 24  # a tree of 25 cells
    assert wall[[0, -1]].all()
    assert wall[:, [0, -1]].all()
    for loops in (2, 20):
        more = draw_maze(np.random.default_rng(seed), cells=5, loops=loops)
        assert openings(more, 5) == min(24 + loops, 40)
        assert (wall | ~more).all()  # loops take walls away and add none


def test_seeds_decide_the_maze() -> None:
    one, same, other = (
        draw_maze(np.random.default_rng(seed), cells=4, loops=1) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_clearance_is_the_distance_from_the_next_wall() -> None:
    wall = np.zeros((30, 30), bool)
    wall[:, 0] = True
    np.testing.assert_allclose(clearance(wall)[7], np.arange(30) / POINTS)


def test_ways_go_round_walls() -> None:
    free = np.ones((21, 21), bool)
    free[10, :20] = False  # open at the right end alone
    ways = ways_to(free, (0, 0))
    assert ways[0, 5] == pytest.approx(0.5)
    assert ways[3, 3] == pytest.approx(0.3 * np.sqrt(2))
    # To the gap (10 rows along the diagonal, 10 columns more), then back on the other side.
    there = (10 * np.sqrt(2) + 10) / POINTS
    assert ways[10, 20] == pytest.approx(there)
    assert ways[20, 0] == pytest.approx(2 * there)
    free[10, 20] = False
    assert np.isinf(ways_to(free, (0, 0))[20, 0])


def test_fields_are_read_between_their_points_each_in_its_own() -> None:
    x = np.arange(20) / POINTS
    fields = np.stack([x[None] + 2 * x[:, None], 10 - x[None] + 0 * x[:, None]])
    places = np.array([[[0.53, 0.21], [1.0, 1.11]], [[0.53, 0.21], [0.0, 0.0]]])
    found = read_at(fields, np.array([0, 1]), places)
    np.testing.assert_allclose(found, [[0.95, 3.22], [9.47, 10.0]])
    single = read_at(fields, np.array([1]), places[1, :1])
    np.testing.assert_allclose(single, [9.47])
