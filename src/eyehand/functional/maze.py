"""Mazes: walls on a grid of cells, how far a place is from them, and the shortest ways."""

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

POINTS, THICK = 10, 2
"""Grid points along a cell, and of them those that a wall takes."""


def draw_maze(random: np.random.Generator, *, cells: int, loops: int) -> Bool[np.ndarray, "y x"]:
    """Draw a maze in which every cell can be reached, by a random depth-first search.

    Args:
        random: Decides the maze.
        cells: Along a side.
        loops: Walls that are taken away afterwards, so that some ways are round trips; all that
            stand, if there are fewer.

    Returns:
        True where a wall is; `POINTS` points along a cell, and the last wall beyond.

    Example:
        >>> draw_maze(np.random.default_rng(0), cells=3, loops=0).shape
        (32, 32)
    """
    wall = np.zeros((cells * POINTS + THICK,) * 2, bool)
    for line in range(cells + 1):
        here = slice(line * POINTS, line * POINTS + THICK)
        wall[here], wall[:, here] = True, True
    reached, way = {(0, 0)}, [(0, 0)]
    while way:
        y, x = way[-1]
        near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        new = [one for one in near if one not in reached and min(one) >= 0 and max(one) < cells]
        if not new:
            way.pop()
            continue
        cell = new[int(random.integers(len(new)))]
        _open(wall, (y, x), cell)
        reached.add(cell)
        way.append(cell)
    standing = [
        ((y, x), (y + dy, x + dx))
        for y in range(cells)
        for x in range(cells)
        for dy, dx in ((0, 1), (1, 0))
        if max(y + dy, x + dx) < cells and wall[_between((y, x), (y + dy, x + dx))].all()
    ]
    for which in random.permutation(len(standing))[:loops]:
        _open(wall, *standing[which])
    return wall


def _open(wall: Bool[np.ndarray, "y x"], cell: tuple[int, int], other: tuple[int, int]) -> None:
    """Take away the wall between two neighbouring cells."""
    wall[_between(cell, other)] = False


def _between(cell: tuple[int, int], other: tuple[int, int]) -> tuple[slice, slice]:
    """Return the points of the wall between two neighbouring cells."""
    rows, columns = (
        slice(max(a, b) * POINTS, max(a, b) * POINTS + THICK)
        if a != b
        else slice(a * POINTS + THICK, (a + 1) * POINTS)
        for a, b in zip(cell, other, strict=True)
    )
    return rows, columns


def clearance(wall: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Return how far every point is from the next wall, in cells."""
    return np.asarray(distance_transform_edt(~wall)) / POINTS


def ways_to(free: Bool[np.ndarray, "y x"], goal: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    """Return the length of the shortest way from every point to a goal, in cells.

    Args:
        free: Where a way may lead.
        goal: Row and column of the goal.

    Returns:
        Lengths along the eight directions of the grid; inf where no way leads.
    """
    number = np.arange(free.size).reshape(free.shape)
    starts, ends, lengths = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = (slice(None, free.shape[0] - dy), slice(max(0, -dx), free.shape[1] - max(0, dx)))
        two = (slice(dy, None), slice(max(0, dx), free.shape[1] - max(0, -dx)))
        both = free[one] & free[two]
        starts.append(number[one][both])
        ends.append(number[two][both])
        lengths.append(np.full(both.sum(), np.hypot(dy, dx) / POINTS))
    edges = (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends)))
    graph = csr_array(edges, shape=(free.size, free.size))
    found = dijkstra(graph, directed=False, indices=int(number[goal]))
    return np.asarray(found).reshape(free.shape)


def read_at(
    fields: Float[np.ndarray, "maze y x"], number: Integer[np.ndarray, " row"],
    places: Float[np.ndarray, "*place 2"],
) -> Float[np.ndarray, "*place"]:  # fmt: skip
    """Return the fields' values at places, bilinear between their points.

    Args:
        fields: Values at the points of every maze.
        number: The maze that each row of places is in.
        places: x and y, in cells.
    """
    y, x = places[..., 1] * POINTS, places[..., 0] * POINTS
    maze = number.reshape(-1, *[1] * (y.ndim - 1)).astype(np.float64)
    points = np.stack(np.broadcast_arrays(maze, y, x))
    return np.asarray(map_coordinates(fields, points, order=1, mode="nearest"))
