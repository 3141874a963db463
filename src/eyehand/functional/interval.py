"""Intervals of success rates: Wilson for one rate, the bootstrap for a mean over tasks.

Sources: Wilson, 1927 (doi 10.1080/01621459.1927.10502953) in the form recommended by Brown, Cai and
DasGupta, 2001 (doi 10.1214/ss/1009213286); Efron, 1979 (doi 10.1214/aos/1176344552).
"""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Float64, Integer


def wilson_interval(
    successes: int | Integer[np.ndarray, "*batch"],
    trials: int | Integer[np.ndarray, "*batch"],
    *,
    confidence: float = 0.95,
) -> Float64[np.ndarray, "*batch 2"]:
    r"""Score interval of a success rate (Wilson, 1927).

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p(1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Unlike the usual :math:`\hat p \pm z\sigma` it stays inside [0, 1], and it has a width even when
    every trial succeeded: 20 of 20 is compatible with a true rate of 84 %.

    Args:
        successes: Trials that succeeded, from 0 to ``trials``.
        trials: Independent trials, at least 1.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: If there are no trials, more successes than trials, or if ``confidence`` is not
            between 0 and 1.

    Example:
        >>> wilson_interval(20, 20).round(3)
        array([0.839, 1.   ])
        >>> wilson_interval(np.array([0, 10]), np.array([20, 20])).round(3)
        array([[0.   , 0.161],
               [0.299, 0.701]])
    """
    s, n = _checked(successes, trials, confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = s / n
    centre = rate + z**2 / (2 * n)
    half_width = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    ends = np.stack([centre - half_width, centre + half_width], axis=-1)
    ends = ends / (1 + z**2 / n)[..., None]
    # Exact at the ends, where rounding leaves 1e-17 or 1 - 1e-16.
    ends[..., 0] = np.where(s == 0, 0.0, ends[..., 0])
    ends[..., 1] = np.where(s == n, 1.0, ends[..., 1])
    return ends


def bootstrap_interval(
    successes: Integer[np.ndarray, " task"],
    trials: Integer[np.ndarray, " task"],
    *,
    weight: Float[np.ndarray, " task"] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Float64[np.ndarray, "2"]:
    r"""Percentile bootstrap interval of a weighted mean of success rates (Efron, 1979).

    Episodes are resampled within each task and the mean :math:`\sum_k w_k \hat p_k / \sum_k w_k` is
    taken anew. Drawing ``n`` episodes with replacement from ``s`` successes among ``n`` gives
    exactly a Binomial(n, s/n) number of successes, so that is what is drawn.

    The interval speaks of the luck of the start states on these tasks, not of other tasks, nor of
    training again with another seed. Where every episode of every task ended alike, its width is
    zero: quote Wilson's interval beside it.

    Args:
        successes: Episodes that succeeded, per task.
        trials: Episodes, per task, at least 1.
        weight: Weight of each task, at least 0; ``None`` means equal weights. For the mean of tier
            rates give every task one over the size of its tier.
        confidence: Coverage, between 0 and 1.
        resamples: Bootstrap draws.
        seed: Decides the draws.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: If a task has no trials or more successes than trials, if the weights are
            negative or all zero, or if ``confidence`` is not between 0 and 1.

    Example:
        >>> low, high = bootstrap_interval(np.array([15, 20]), np.array([20, 20]))
        >>> bool(0.7 < low < (0.75 + 1.0) / 2 < high < 1.0)
        True
    """
    s, n = _checked(successes, trials, confidence)
    w = np.ones(len(s)) if weight is None else np.asarray(weight, dtype=np.float64)
    if (w < 0).any() or w.sum() == 0:
        raise ValueError(f"Weights must be at least 0 and not all 0. Got {w.tolist()}.")
    draws = np.random.default_rng(seed).binomial(n, s / n, size=(resamples, len(s)))
    means = (draws / n) @ (w / w.sum())
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail])


def _checked(
    successes: int | Integer[np.ndarray, "*batch"],
    trials: int | Integer[np.ndarray, "*batch"],
    confidence: float,
) -> tuple[Integer[np.ndarray, "*batch"], Integer[np.ndarray, "*batch"]]:
    """Return both counts as arrays, or say what is wrong with them."""
    s, n = np.asarray(successes), np.asarray(trials)
    if n.size == 0 or (n < 1).any():
        raise ValueError(f"A success rate needs at least 1 trial. Got trials={n.tolist()}.")
    if (s < 0).any() or (s > n).any():
        raise ValueError(
            "Successes must lie between 0 and the number of trials. "
            f"Got successes={s.tolist()}, trials={n.tolist()}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1. Got {confidence}.")
    return s, n
