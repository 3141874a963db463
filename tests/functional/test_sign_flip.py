"""The exact test against scipy's, against McNemar's, and on differences that are none."""

import numpy as np
import pytest
from scipy import stats

from eyehand.functional.sign_flip import sign_flip_p_value


@pytest.mark.parametrize("number", range(5))
def test_all_sign_flips_as_scipy_counts_them(number: int) -> None:
    difference = np.random.default_rng(number).integers(-2, 4, size=9)
    theirs = stats.permutation_test(
        (difference, np.zeros_like(difference)),
        lambda one, two, axis: (one - two).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**9,
    )
    assert sign_flip_p_value(difference) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_one_episode_a_seed_is_mcnemars_exact_test() -> None:
    difference = np.repeat([1, -1, 0], [12, 3, 25])
    assert sign_flip_p_value(difference) == pytest.approx(stats.binomtest(12, 15).pvalue)


def test_the_order_of_the_policies_does_not_matter() -> None:
    difference = np.array([3, 0, -1, 2, 5, 1, -2])
    assert sign_flip_p_value(difference) == sign_flip_p_value(-difference)


def test_episodes_that_fail_together_are_one_draw() -> None:
    """Ten tasks lost by one of two equal policies on four seeds: no difference; as 40 pairs it
    would be one."""
    assert sign_flip_p_value(np.array([10, 10, 10, 10, *[0] * 16])) == 0.125
    assert sign_flip_p_value(np.ones(40, int)) < 1e-11


def test_it_is_right_as_often_as_it_says() -> None:
    """Equal policies whose seeds are correlated: 5 % at most are called different."""
    random = np.random.default_rng(0)
    called = [
        sign_flip_p_value(random.integers(-3, 4, size=20) * random.integers(1, 4, size=20)) <= 0.05
        for _ in range(1000)
    ]
    assert 0.02 < np.mean(called) < 0.07


def test_no_difference_and_no_seed() -> None:
    assert sign_flip_p_value(np.zeros(20, int)) == 1.0
    with pytest.raises(ValueError, match="at least 1 seed"):
        sign_flip_p_value(np.zeros(0, int))
