"""Are two policies, run on the same start states, really different? And if many were compared?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64


def mcnemar(first: Bool[np.ndarray, " _"], second: Bool[np.ndarray, " _"]) -> float:
    r"""Return the exact two-sided p-value of two policies on the same episodes (McNemar, 1947).

    .. math:: p = \min\Big(1,\; 2 \sum_{k=0}^{\min(b,c)} \binom{b+c}{k} \, 2^{-(b+c)}\Big)

    ``b`` episodes were won by the first alone, ``c`` by the second alone; equal policies share them
    like a fair coin. Episodes that both win or both lose say nothing about a difference, however
    many they are.

    Args:
        first: Whether the first policy succeeded, per episode.
        second: Whether the second did, from the same start states in the same order.

    Returns:
        In [0, 1]; 1 if no episode tells the two apart.

    Raises:
        ValueError: If the lengths differ.

    References:
        McNemar, 1947, doi 10.1007/BF02295996: the test, with the chi-square approximation. Here the
        binomial distribution is summed, without the mid-p correction.

    Example:
        >>> first = np.array([True, True, True, True, True, True, False])
        >>> second = np.array([False, False, False, False, False, False, False])
        >>> mcnemar(first, second)  # six heads in a row, or six tails: 2 / 64
        0.03125
    """
    if first.shape != second.shape:
        raise ValueError(
            "Paired policies need the same episodes; "
            f"got {len(first)} of the first and {len(second)} of the second."
        )
    first_alone = int((first & ~second).sum())
    second_alone = int((second & ~first).sum())
    discordant = first_alone + second_alone
    tail = binomial = 1
    for k in range(min(first_alone, second_alone)):
        binomial = binomial * (discordant - k) // (k + 1)
        tail += binomial
    # Whole numbers up to the quotient: neither part of it fits a float beyond 1023 pairs. Equal
    # shares count the middle twice, and so more than 1.
    return min(1.0, 2 * tail / 2**discordant)


def holm(
    p_values: Sequence[float] | Float[np.ndarray, " test"],
) -> Float64[np.ndarray, " test"]:
    r"""Adjust the p-values of several tests so that all may be read together (Holm, 1979).

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\big(1,\; (m - j + 1)\, p_{(j)}\big)

    with :math:`p_{(1)} \le \dots \le p_{(m)}`. Call different what is at most 0.05 here: the chance
    of even one false call is then at most 0.05, whether or not the tests depend on each other. No
    value is larger than Bonferroni's :math:`m p`.

    Args:
        p_values: One of each test made, in [0, 1]; those that came to nothing too.

    Returns:
        Adjusted p-values in the order given, in [0, 1].

    Raises:
        ValueError: If a p-value is NaN or outside [0, 1].

    References:
        Holm, 1979, doi 10.2307/4615733.

    Example:
        >>> holm([0.025, 0.001, 0.02, 0.6])
        array([0.06 , 0.004, 0.06 , 0.6  ])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must be numbers in [0, 1]; got {p.tolist()}.")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * p[order]))
    return adjusted
