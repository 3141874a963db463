"""Intervals against scipy, against closed forms, and against their own coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eyehand.functional.interval import bootstrap_interval, wilson_interval


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20)])
def test_wilson_matches_scipy(successes: int, trials: int, confidence: float) -> None:
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(successes, trials, confidence=confidence)
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], rtol=0, atol=1e-12)


def test_wilson_of_an_array_is_wilson_of_each() -> None:
    successes, trials = np.array([[0, 3], [10, 49]]), np.array([[5, 9], [10, 50]])
    together = wilson_interval(successes, trials)
    for index in np.ndindex(2, 2):
        alone = wilson_interval(int(successes[index]), int(trials[index]))
        np.testing.assert_array_equal(together[index], alone)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert high - low > 0
    mirrored = wilson_interval(trials - successes, trials)
    np.testing.assert_allclose(mirrored, [1 - high, 1 - low], atol=1e-12)


def test_wilson_covers_where_the_textbook_interval_does_not() -> None:
    """At p = 0.95 and n = 20 the negative control must visibly miss its promise."""
    rate, trials = 0.95, 20
    chance = stats.binom.pmf(np.arange(trials + 1), trials, rate)
    ends = wilson_interval(np.arange(trials + 1), np.full(trials + 1, trials))
    estimate = np.arange(trials + 1) / trials
    half_width = 1.96 * np.sqrt(estimate * (1 - estimate) / trials)
    assert chance[(ends[:, 0] <= rate) & (rate <= ends[:, 1])].sum() > 0.9
    assert chance[abs(estimate - rate) <= half_width].sum() < 0.7


def test_bootstrap_of_one_task_is_the_binomial_quantile() -> None:
    ours = bootstrap_interval(np.array([30]), np.array([40]), resamples=100_000)
    exact = stats.binom.ppf([0.025, 0.975], 40, 30 / 40) / 40
    np.testing.assert_allclose(ours, exact, atol=1e-12)


def test_bootstrap_matches_scipy_within_the_error_of_drawing() -> None:
    outcomes = np.arange(200) < 130
    theirs = stats.bootstrap(
        (outcomes,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    ours = bootstrap_interval(np.array([130]), np.array([200]), resamples=20_000)
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], atol=0.0051)  # one episode


def test_bootstrap_of_many_tasks_is_normal() -> None:
    successes, trials = np.full(50, 10), np.full(50, 20)
    half_width = 1.96 * np.sqrt(0.25 / 20 / 50)
    ours = bootstrap_interval(successes, trials, resamples=50_000)
    np.testing.assert_allclose(ours, [0.5 - half_width, 0.5 + half_width], atol=2e-3)


def test_weights_choose_the_mean() -> None:
    successes, trials = np.array([20, 20, 20, 0]), np.full(4, 20)
    np.testing.assert_allclose(bootstrap_interval(successes, trials), [0.75, 0.75])
    tier_weight = np.array([1 / 3, 1 / 3, 1 / 3, 1.0])
    np.testing.assert_allclose(
        bootstrap_interval(successes, trials, weight=tier_weight), [0.5, 0.5], atol=1e-12
    )


def test_seed_decides_the_draws() -> None:
    counts = np.array([7, 130]), np.array([20, 173])
    assert (bootstrap_interval(*counts, seed=3) == bootstrap_interval(*counts, seed=3)).all()
    draws = [bootstrap_interval(*counts, resamples=50, seed=s).tolist() for s in (3, 4)]
    assert draws[0] != draws[1]


def test_errors_name_what_came() -> None:
    with pytest.raises(ValueError, match=r"at least 1 trial. Got trials=\[5, 0\]"):
        wilson_interval(np.array([1, 0]), np.array([5, 0]))
    with pytest.raises(ValueError, match=r"Got trials=0"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match=r"successes=6, trials=5"):
        wilson_interval(6, 5)
    with pytest.raises(ValueError, match=r"successes=\[-1\], trials=\[5\]"):
        bootstrap_interval(np.array([-1]), np.array([5]))
    with pytest.raises(ValueError, match=r"Got 95"):
        wilson_interval(1, 2, confidence=95.0)
    with pytest.raises(ValueError, match=r"Got \[0.0, 0.0\]"):
        bootstrap_interval(np.array([1, 1]), np.array([2, 2]), weight=np.zeros(2))
