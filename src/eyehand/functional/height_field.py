"""Uneven ground: heights on a grid, drawn at random and read between the grid's points."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates, maximum_filter, minimum_filter, zoom

WAVES = ((1.6, 1.0), (0.8, 0.5))
"""About how far apart the random heights are that a surface goes through, metres; their weight."""


def rough_heights(
    random: np.random.Generator, *, cells: int, spacing: float, roughness: float
) -> Float[np.ndarray, "row column"]:
    """Draw a smooth surface of bumps and hollows about a metre wide.

    Args:
        random: Decides the surface.
        cells: Rows and columns of the grid.
        spacing: Distance between its points, metres.
        roughness: How far the ground rises and falls within one metre: the difference between the
            highest and the lowest point of a square of one metre, on average over all squares.

    Returns:
        Heights, metres; the lowest is 0.

    Example:
        >>> heights = rough_heights(
        ...     np.random.default_rng(0), cells=100, spacing=0.1, roughness=0.2
        ... )
        >>> round(roughness_of(heights, spacing=0.1), 6), float(heights.min())
        (0.2, 0.0)
    """
    heights = np.zeros((cells, cells))
    for width, weight in WAVES:
        knots = random.normal(size=(2 + int(np.ceil(cells * spacing / width)),) * 2)
        fine = zoom(knots, width / spacing, order=3)
        heights += weight * fine[:cells, :cells]
    heights *= roughness / roughness_of(heights, spacing=spacing)
    return np.asarray(heights - heights.min())


def roughness_of(heights: Float[np.ndarray, "row column"], *, spacing: float) -> float:
    """Return how far the ground rises and falls within a square metre, metres, on average.

    Args:
        heights: On a grid, metres.
        spacing: Distance between the grid's points, metres.
    """
    side = round(1 / spacing) + 1
    inside = slice(side // 2, -(side // 2))
    apart = maximum_filter(heights, side) - minimum_filter(heights, side)
    return float(apart[inside, inside].mean())


def heights_at(
    heights: Float[np.ndarray, "row column"], x: Float[np.ndarray, "*place"],
    y: Float[np.ndarray, "*place"], *, spacing: float,
) -> Float[np.ndarray, "*place"]:  # fmt: skip
    """Return the height at places, bilinear between the grid's points.

    Args:
        heights: On a grid whose centre is at (0, 0): x along columns, y along rows.
        x: Places, metres; those beyond the grid have the height of its edge.
        y: As ``x``.
        spacing: Distance between the grid's points, metres.
    """
    centre = (np.array(heights.shape) - 1) / 2
    where = np.stack([y / spacing + centre[0], x / spacing + centre[1]])
    return np.asarray(map_coordinates(heights, where, order=1, mode="nearest"))
