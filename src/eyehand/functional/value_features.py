"""Features of a two-dimensional state, for values that are linear in them.

A row of features stands for a state; values are ``features @ weights``. Few features generalise
further, many can say more.

The state is two numbers; for Fourier features and tiles both lie in [0, 1].
"""

import numpy as np
from jaxtyping import Float64

from eyehand.types import InputError


def polynomial_features(
    state: Float64[np.ndarray, "batch 2"], *, degree: int
) -> Float64[np.ndarray, "batch feature"]:
    """All products of powers of the two numbers up to a total degree.

    Degree 1 gives 1, x, y: values on a plane. Degree 2 adds x^2, x y, y^2.

    Args:
        state: Two numbers; around 0 and not far beyond 1, or high powers drown the others.
        degree: Largest sum of the two exponents, at least 0.

    Returns:
        ``(degree + 1) (degree + 2) / 2`` features of each state, lower degrees first.

    Raises:
        InputError: If the degree is below 0.

    References:
        Zhao, 2025, sec. 8.2; Sutton and Barto, 2018, sec. 9.5.1, who bound each exponent instead.

    Example:
        >>> polynomial_features(np.array([[2.0, 3.0]]), degree=2)
        array([[1., 2., 3., 4., 6., 9.]])
    """
    _check_least("degree", degree, 0)
    exponents = [(total - y, y) for total in range(degree + 1) for y in range(total + 1)]
    return np.stack([state[:, 0] ** x * state[:, 1] ** y for x, y in exponents], axis=1)


def fourier_features(
    state: Float64[np.ndarray, "batch 2"], *, order: int
) -> Float64[np.ndarray, "batch feature"]:
    r"""Cosine waves of all whole frequencies up to an order in each direction.

    .. math:: \phi_c(s) = \cos\big(\pi (c_1 s_1 + c_2 s_2)\big), \qquad c \in \{0, \dots, q\}^2

    Args:
        state: Two numbers in [0, 1], over which a wave of frequency 1 makes half a turn.
        order: Highest frequency q, at least 0.

    Returns:
        ``(order + 1)**2`` features of each state, each in [-1, 1]; the first is 1.

    Raises:
        InputError: If the order is below 0.

    References:
        Konidaris, Osentoski and Thomas, 2011, sec. 3, doi 10.1609/aaai.v25i1.7903.

    Example:
        >>> fourier_features(np.array([[1.0, 0.5]]), order=1).round(9) + 0
        array([[ 1.,  0., -1.,  0.]])
    """
    _check_least("order", order, 0)
    frequency = np.indices((order + 1, order + 1)).reshape(2, -1)
    return np.cos(np.pi * state @ frequency)


def tile_features(
    state: Float64[np.ndarray, "batch 2"], *, tilings: int, tiles: int
) -> Float64[np.ndarray, "batch feature"]:
    """Which tile a state lies on, in several grids of tiles that are shifted against each other.

    Each grid cuts the square into tiles, of which exactly one holds the state; its feature is 1,
    the grid's others are 0. Two states share as many features as grids do not separate them.
    Grid k is shifted by k shares of a tile along one side and by 3 k along the other, so that no
    two grids share a line.

    What people get wrong: every state has as many features of 1 as there are grids, so a step size
    must be divided by their number.

    Args:
        state: Two numbers in [0, 1].
        tilings: Number of grids, at least 1 and no multiple of 3: then 3 k would line up.
        tiles: Tiles along each side of the square, at least 1; a shifted grid needs one more.

    Returns:
        ``tilings * (tiles + 1)**2`` features of each state.

    Raises:
        InputError: If a number is below 1, ``tilings`` is a multiple of 3, or a state lies outside
            the square.

    References:
        Sutton and Barto, 2018, sec. 9.5.4; the shifts: Miller and Glanz, 1996.

    Example:
        >>> tile_features(np.array([[0.9, 0.1]]), tilings=1, tiles=1)
        array([[1., 0., 0., 0.]])
    """
    _check_least("tilings", tilings, 1)
    _check_least("tiles", tiles, 1)
    if tilings % 3 == 0:
        raise InputError(
            f"`tilings` must not be a multiple of 3, or grids would share lines. Got {tilings}."
        )
    inside = ((state >= 0) & (state <= 1)).all(axis=1)  # nan is not
    if not inside.all():
        raise InputError(f"tiles cover [0, 1]. Got the state {state[~inside][0].tolist()}.")
    rows = np.arange(len(state))
    grids = np.zeros((len(state), tilings, tiles + 1, tiles + 1))
    for grid in range(tilings):
        shift = grid * np.array([1, 3]) / tilings % 1
        column, row = np.floor(state * tiles + shift).astype(int).T
        grids[rows, grid, row, column] = 1.0
    return grids.reshape(len(state), -1)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"`{name}` must be at least {least}. Got {value}.")
