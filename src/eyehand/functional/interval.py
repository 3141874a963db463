"""The interval of a mean over tasks, by the bootstrap (Efron, 1979, doi 10.1214/aos/1176344552).

The interval of one success rate is Wilson's; callers take it from scipy:
``binomtest(successes, trials).proportion_ci(method="wilson")``.
"""

import numpy as np
from jaxtyping import Float, Float64, Integer


def bootstrap_interval(
    successes: Integer[np.ndarray, " task"],
    trials: Integer[np.ndarray, " task"],
    *,
    weight: Float[np.ndarray, " task"] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Float64[np.ndarray, "2"]:
    r"""95 % percentile bootstrap interval of a weighted mean of success rates (Efron, 1979).

    Episodes are resampled within each task and the mean :math:`\sum_k w_k \hat p_k / \sum_k w_k` is
    taken anew. Drawing ``n`` episodes with replacement from ``s`` successes among ``n`` gives
    exactly a Binomial(n, s/n) number of successes, so that is what is drawn.

    ``scipy.stats.bootstrap`` is not used because it raises a ValueError where a task has a single
    episode (scipy 1.17), which ``eyehand eval --episodes 1`` allows. Otherwise the two agree up to
    the chance in their draws.

    The interval covers the chance in the start states of these tasks. It does not cover other tasks
    or a second training with another seed. If every episode of every task ended alike, its width is
    zero: give Wilson's interval beside it.

    Args:
        successes: Episodes that succeeded, per task.
        trials: Episodes, per task, at least 1.
        weight: Weight of each task, at least 0; ``None`` means equal weights. For the mean of tier
            rates give every task one over the size of its tier.
        resamples: Bootstrap draws.
        seed: Decides the draws.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: If a task has no trials or more successes than trials, or if the weights are
            negative or all zero.

    Example:
        >>> low, high = bootstrap_interval(np.array([15, 20]), np.array([20, 20]))
        >>> bool(0.7 < low < (0.75 + 1.0) / 2 < high < 1.0)
        True
    """
    if (trials < 1).any() or (successes < 0).any() or (successes > trials).any():
        raise ValueError(
            "Every task needs at least 1 trial, and successes between 0 and its trials. "
            f"Got successes={successes.tolist()}, trials={trials.tolist()}."
        )
    w = np.ones(len(successes)) if weight is None else np.asarray(weight, dtype=np.float64)
    if (w < 0).any() or w.sum() == 0:
        raise ValueError(f"Weights must be at least 0 and not all 0. Got {w.tolist()}.")
    size = (resamples, len(successes))
    draws = np.random.default_rng(seed).binomial(trials, successes / trials, size=size)
    means = (draws / trials) @ (w / w.sum())
    return np.quantile(means, [0.025, 0.975])
