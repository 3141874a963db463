"""Whether two policies differ, from the seeds on which both were measured: the sign-flip test."""

import numpy as np
from jaxtyping import Integer


def sign_flip_p_value(difference: Integer[np.ndarray, " seed"]) -> float:
    r"""Return the exact two-sided p-value of "the two do equally well on every seed".

    .. math:: p = 2^{-n} \, \big|\{ s \in \{-1, 1\}^n : |\textstyle\sum_i s_i d_i|
              \ge |\sum_i d_i| \}\big|

    If two policies are equal, the difference of a seed is as likely as its opposite. All episodes
    of a seed are flipped together, because tasks may share its start state and then succeed or fail
    together; a test that takes them for independent finds differences that are none. With one
    episode a seed this is McNemar's exact test.

    With n seeds p is at least :math:`2^{1-n}`: fewer than 6 can never show a difference at 5 %.

    Args:
        difference: Episodes of each seed that the first policy won, less those of the second.

    Raises:
        ValueError: If there is no seed.

    References:
        Fisher, 1935, *The Design of Experiments*, sec. 21.

    Example:
        >>> sign_flip_p_value(np.array([1, 2, 0, 1, 3, 1, 2]))
        0.03125
    """
    if not len(difference):
        raise ValueError("the sign-flip test needs at least 1 seed. Got none.")
    # The distribution of the sum, seed by seed: it moves up or down by the size of the difference.
    chance = np.ones(1)
    for size in np.abs(difference):
        step = np.zeros(2 * size + 1)
        step[0] += 0.5
        step[-1] += 0.5
        chance = np.convolve(chance, step)
    total = len(chance) // 2
    sums = np.abs(np.arange(-total, total + 1))
    return float(min(1.0, chance[sums >= abs(difference.sum())].sum()))
