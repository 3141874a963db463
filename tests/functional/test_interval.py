"""The bootstrap against scipy's, against closed forms, and on what scipy cannot take."""

import numpy as np
import pytest
from scipy import stats

from eyehand.functional.interval import bootstrap_interval


def test_one_task_gives_the_binomial_quantile() -> None:
    ours = bootstrap_interval(np.array([30]), np.array([40]), resamples=100_000)
    exact = stats.binom.ppf([0.025, 0.975], 40, 30 / 40) / 40
    np.testing.assert_allclose(ours, exact, atol=1e-12)


def test_weighted_tasks_match_scipy_within_the_error_of_drawing() -> None:
    """Scipy resamples each of several samples by itself, as we do each task."""
    successes, trials = np.array([13, 5, 19]), np.array([20, 20, 20])
    weight = np.array([0.5, 0.25, 0.25])
    tasks = tuple(np.arange(n) < s for s, n in zip(successes, trials, strict=True))
    theirs = stats.bootstrap(
        tasks,
        lambda *drawn, axis: sum(w * x.mean(axis=axis) for w, x in zip(weight, drawn, strict=True)),
        n_resamples=10_000,
        method="percentile",
        rng=1,
    ).confidence_interval
    ours = bootstrap_interval(successes, trials, weight=weight, resamples=10_000)
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], atol=0.0126)  # half an episode


def test_a_single_episode_a_task_is_enough_here_and_too_few_for_scipy() -> None:
    """The reason why scipy's is not used: when this fails, use it."""
    episodes = (np.array([1.0]), np.array([0.0]))
    with pytest.raises(ValueError, match="two or more observations"):
        stats.bootstrap(episodes, lambda a, b, axis: a.mean(axis=axis) + b.mean(axis=axis))
    np.testing.assert_array_equal(bootstrap_interval(np.array([1, 0]), np.array([1, 1])), [0.5] * 2)


def test_many_tasks_give_the_normal_interval() -> None:
    successes, trials = np.full(50, 10), np.full(50, 20)
    half_width = 1.96 * np.sqrt(0.25 / 20 / 50)
    ours = bootstrap_interval(successes, trials)
    np.testing.assert_allclose(ours, [0.5 - half_width, 0.5 + half_width], atol=2e-3)


def test_weights_choose_the_mean() -> None:
    successes, trials = np.array([20, 20, 20, 0]), np.full(4, 20)
    np.testing.assert_allclose(bootstrap_interval(successes, trials), [0.75, 0.75])
    tier_weight = np.array([1 / 3, 1 / 3, 1 / 3, 1.0])
    np.testing.assert_allclose(
        bootstrap_interval(successes, trials, weight=tier_weight), [0.5, 0.5], atol=1e-12
    )


def test_the_seed_decides_the_draws() -> None:
    counts = np.array([7, 130]), np.array([20, 173])
    assert (bootstrap_interval(*counts, seed=3) == bootstrap_interval(*counts, seed=3)).all()
    draws = [bootstrap_interval(*counts, resamples=50, seed=s).tolist() for s in (3, 4)]
    assert draws[0] != draws[1]


@pytest.mark.parametrize(
    ("successes", "trials", "rest", "said"),
    [
        ([1, 0], [5, 0], {}, r"at least 1 trial.*trials=\[5, 0\]"),
        ([-1], [5], {}, r"successes=\[-1\], trials=\[5\]"),
        ([6], [5], {}, r"successes=\[6\], trials=\[5\]"),
        ([1, 1], [2, 2], {"weight": np.zeros(2)}, r"Got \[0.0, 0.0\]"),
    ],
)
def test_errors_name_what_came(
    successes: list[int], trials: list[int], rest: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap_interval(np.array(successes), np.array(trials), **rest)  # type: ignore[arg-type]
