"""McNemar against scipy and its own level; Holm against closed testing and the paper's steps."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eyehand.functional.paired import holm, mcnemar

episodes = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def outcomes(
    first_alone: int, second_alone: int, both: int = 0, none: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    counts = [first_alone, second_alone, both, none]
    return np.repeat([True, False, True, False], counts), np.repeat(
        [False, True, True, False], counts
    )


@pytest.mark.parametrize(
    ("first_alone", "second_alone"), [(1, 0), (0, 5), (7, 3), (50, 50), (60, 41), (700, 800)]
)
def test_mcnemar_matches_scipy(first_alone: int, second_alone: int) -> None:
    theirs = stats.binomtest(first_alone, first_alone + second_alone).pvalue
    ours = mcnemar(*outcomes(first_alone, second_alone, both=9, none=4))
    assert ours == pytest.approx(theirs, rel=1e-9, abs=0)


def test_mcnemar_by_hand() -> None:
    """Of eight discordant pairs seven for the first: 2 (1 + 8) / 256."""
    assert mcnemar(*outcomes(7, 1)) == 18 / 256
    assert mcnemar(*outcomes(0, 0, both=30, none=10)) == 1.0
    assert mcnemar(*outcomes(4, 4)) == 1.0
    assert mcnemar(*outcomes(2000, 0)) == 0.0  # 2 / 2**2000, nearer to 0 than any float
    assert mcnemar(*outcomes(5, 0)) > 0.05 > mcnemar(*outcomes(6, 0))


@settings(deadline=None)
@given(episodes, st.randoms(use_true_random=False))
def test_mcnemar_is_symmetric_and_blind_to_order_and_to_agreement(
    pairs: list[tuple[bool, bool]], random: Random
) -> None:
    first, second = np.array(pairs, dtype=bool).reshape(-1, 2).T
    p = mcnemar(first, second)
    assert 0 < p <= 1
    assert mcnemar(second, first) == p
    assert mcnemar(~first, ~second) == p
    order = np.array(random.sample(range(len(pairs)), len(pairs)), dtype=int)
    assert mcnemar(first[order], second[order]) == p
    differ = first != second
    assert mcnemar(first[differ], second[differ]) == p


def test_mcnemar_never_exceeds_its_level_exactly() -> None:
    """Summed over every possible share of the discordant pairs, for each number of them."""
    for discordant in range(1, 41):
        p = np.array([mcnemar(*outcomes(k, discordant - k)) for k in range(discordant + 1)])
        chance = stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
        for level in (0.01, 0.05, 0.1, *p):
            assert chance[p <= level].sum() <= level * (1 + 1e-9)


def test_equal_policies_are_rarely_called_different_and_unequal_ones_often() -> None:
    """Start states of differing difficulty make the pairs alike; two rates know nothing of that."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(0.5, 0.5, size=(2000, 100))
    first, second = rng.random((2, 2000, 100)) < difficulty
    better = rng.random((2000, 100)) < 0.7 * difficulty + 0.3
    false_calls = np.mean([mcnemar(a, b) <= 0.05 for a, b in zip(first, second, strict=True)])
    calls = np.mean([mcnemar(a, b) <= 0.05 for a, b in zip(first, better, strict=True)])
    assert 0.01 < false_calls <= 0.05
    assert calls > 0.5


@pytest.mark.parametrize(("first", "second"), [(3, 2), (0, 1)])
def test_mcnemar_refuses_episodes_without_a_partner(first: int, second: int) -> None:
    with pytest.raises(ValueError, match=f"got {first} of the first and {second} of the second"):
        mcnemar(np.zeros(first, dtype=bool), np.zeros(second, dtype=bool))


def test_holm_by_hand() -> None:
    """0.001 x 4, 0.02 x 3, then 0.025 x 2 = 0.05, lifted to the 0.06 before it."""
    np.testing.assert_allclose(holm([0.025, 0.001, 0.02, 0.6]), [0.06, 0.004, 0.06, 0.6])
    np.testing.assert_array_equal(holm([0.4, 0.7, 0.6]), [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(holm(np.array([0.03])), [0.03])
    assert holm([]).shape == (0,)


@settings(deadline=None)
@given(probabilities)
def test_holm_is_closed_testing_with_bonferroni(p: list[float]) -> None:
    """A test counts only if Bonferroni rejects every set of tests that it belongs to."""
    want = np.zeros(len(p))
    for size in range(1, len(p) + 1):
        for members in combinations(range(len(p)), size):
            of_the_set = min(1.0, size * min(p[k] for k in members))
            want[list(members)] = np.maximum(want[list(members)], of_the_set)
    np.testing.assert_allclose(holm(p), want, rtol=1e-12)


@settings(deadline=None)
@given(probabilities, st.floats(0.001, 0.999))
def test_holm_rejects_what_the_steps_of_the_paper_reject(p: list[float], level: float) -> None:
    rejected = np.zeros(len(p), dtype=bool)
    for step, index in enumerate(np.argsort(p)):
        if (len(p) - step) * p[index] > level:
            break
        rejected[index] = True
    np.testing.assert_array_equal(holm(p) <= level, rejected)


@settings(deadline=None)
@given(probabilities, st.randoms(use_true_random=False))
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(
    p: list[float], random: Random
) -> None:
    raw, adjusted = np.array(p), holm(p)
    order = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(holm(raw[order]), adjusted[order])
    bonferroni = np.minimum(1, len(p) * raw)
    assert (raw <= adjusted).all()
    assert (adjusted <= bonferroni).all()
    assert adjusted[raw.argmin()] == bonferroni.min()
    assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()


def test_among_many_equal_policies_holm_rarely_calls_one_and_raw_p_values_often() -> None:
    rng = np.random.default_rng(1)
    p = rng.random((2000, 20))  # of twenty tests in which nothing is to be found
    assert 0.03 < np.mean([holm(row).min() <= 0.05 for row in p]) <= 0.05
    assert np.mean(p.min(axis=1) <= 0.05) > 0.6


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_holm_refuses_what_is_no_probability(value: float) -> None:
    with pytest.raises(ValueError, match=rf"must be numbers in \[0, 1\]; got \[0.5, {value}\]"):
        holm([0.5, value])
