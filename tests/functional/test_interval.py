"""Intervals cover the truth as often as they say, also where seeds are shared or all succeed."""

import numpy as np
import pytest
from jaxtyping import Bool, Float
from scipy import stats

from eyehand.functional.interval import hierarchical_interval, mean_interval

RATES = np.repeat([0.98, 0.88, 0.83, 0.86], [28, 11, 6, 5])
"""Of the tasks of MT50, about as our policy has them."""
GROUPS = np.repeat(np.arange(4), [28, 11, 6, 5])
WEIGHTS = 1 / np.repeat([28, 11, 6, 5], [28, 11, 6, 5]) / 4


def outcomes(
    rate: Float[np.ndarray, " task"], seeds: int, *, correlation: float, random: np.random.Generator
) -> Bool[np.ndarray, "task seed"]:
    """Draw episodes of which those of one seed are correlated, with exactly these rates."""
    own = random.normal(size=(len(rate), seeds))
    latent = correlation**0.5 * random.normal(size=seeds) + (1 - correlation) ** 0.5 * own
    return np.asarray(stats.norm.cdf(latent) < rate[:, None])


def interval_of(
    won: Bool[np.ndarray, "task seed"], weight: np.ndarray | None = None, *, shared: bool = True
) -> np.ndarray:
    task, seed = np.indices(won.shape).reshape(2, -1)
    return mean_interval(won.ravel(), task, seed if shared else np.arange(won.size), weight=weight)


def covered(correlation: float, *, shared: bool) -> float:
    random, found = np.random.default_rng(0), []
    for _ in range(400):
        won = outcomes(RATES, 20, correlation=correlation, random=random)
        low, high = interval_of(won, WEIGHTS, shared=shared)
        found.append(low <= WEIGHTS @ RATES <= high)
    return float(np.mean(found))


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_it_covers_the_truth(correlation: float) -> None:
    assert 0.93 <= covered(correlation, shared=True) <= 0.99


def test_taking_shared_start_states_for_independent_covers_far_less() -> None:
    """The negative control: the intervals that this function replaced."""
    assert covered(0.3, shared=False) < 0.85


def test_many_tasks_give_the_normal_interval() -> None:
    won = np.arange(20) % 2 == np.arange(50)[:, None] % 2  # each seed wins half of the tasks
    half = 1.96 * np.sqrt(0.25 / 20 / 50)
    np.testing.assert_allclose(interval_of(won), [0.5 - half, 0.5 + half], atol=1e-4)


def test_one_seed_that_decides_everything_counts_as_one_draw() -> None:
    won = np.broadcast_to(np.arange(20) < 10, (50, 20))
    low, high = interval_of(won)
    half = stats.t.ppf(0.975, 19) * np.sqrt(0.25 / 20)  # that of one task's twenty episodes
    np.testing.assert_allclose([low, high], [0.5 - half, 0.5 + half], atol=1e-12)


def test_a_task_that_always_succeeded_adds_doubt() -> None:
    won = np.ones((10, 20), dtype=bool)
    low, high = interval_of(won)
    assert high == 1
    # Jeffreys' 20.5 of 21, ten times.
    assert low == pytest.approx(1 - 1.96 * np.sqrt(20.5 / 21 * 0.5 / 21 / 200), abs=1e-5)
    wider = interval_of(won[:1])
    assert wider[0] < low


def test_weights_choose_the_mean_and_tasks_may_have_other_numbers_of_episodes() -> None:
    success = np.array([True, False, True, True, True, True])
    task, seed = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 0, 1, 2, 3])
    by_episode = mean_interval(success, task, seed)
    np.testing.assert_array_equal(
        by_episode, mean_interval(success, task, seed, weight=np.array([2.0, 4.0]))
    )
    alone = mean_interval(success, task, seed, weight=np.array([0.0, 1.0]))
    assert alone[1] == 1
    assert by_episode[0] < alone[0]


def test_names_of_seeds_and_the_order_of_episodes_do_not_matter() -> None:
    random = np.random.default_rng(1)
    won = outcomes(RATES, 5, correlation=0.5, random=random).ravel()
    task, seed = np.indices((50, 5)).reshape(2, -1)
    order = random.permutation(250)
    np.testing.assert_allclose(
        mean_interval(won, task, seed),
        mean_interval(won[order], task[order], 1_000_000 - 7 * seed[order]),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    ("task", "rest", "said"),
    [
        ([], {}, r"at least 1 episode. Got \[0\]"),
        ([0, 2], {}, r"Got \[1, 0, 1\]"),
        ([0, 1], {"weight": np.zeros(2)}, r"Got \[0.0, 0.0\]"),
        ([0, 1], {"weight": np.array([-1.0, 2.0])}, r"Got \[-1.0, 2.0\]"),
        ([0, 1], {"weight": np.ones(3)}, "must be 2 weights"),
    ],
)
def test_errors_name_what_came(task: list[int], rest: dict[str, np.ndarray], said: str) -> None:
    numbers = np.array(task, dtype=int)
    with pytest.raises(ValueError, match=said):
        mean_interval(np.zeros(len(task), bool), numbers, numbers, **rest)


def test_the_hierarchy_is_wider_for_every_level_that_varies() -> None:
    random = np.random.default_rng(0)
    rate = np.full(50, 0.9)
    still = np.stack([outcomes(rate, 20, correlation=0, random=random) for _ in range(3)])
    by_seed = np.stack([outcomes(rate, 20, correlation=0.6, random=random) for _ in range(3)])
    by_training = still & (np.arange(3) > 0)[:, None, None]
    by_task = still & (np.arange(50) % 10 > 0)[:, None]
    width = {
        name: np.ptp(hierarchical_interval(won, GROUPS, resamples=1000))
        for name, won in (
            ("still", still), ("seed", by_seed), ("training", by_training), ("task", by_task)
        )
    }  # fmt: skip
    assert min(width["seed"], width["training"], width["task"]) > 1.5 * width["still"]


def test_the_hierarchy_of_one_task_and_one_training_is_the_bootstrap() -> None:
    won = (np.arange(20) < 13)[None, None]
    theirs = stats.bootstrap(
        (won.ravel(),), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    ours = hierarchical_interval(won, np.array([0]), resamples=4000)
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], atol=0.051)  # an episode


def test_the_seed_decides_the_draws() -> None:
    won = outcomes(RATES, 20, correlation=0, random=np.random.default_rng(0))[None]
    draws = [hierarchical_interval(won, GROUPS, resamples=50, seed=s).tolist() for s in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
