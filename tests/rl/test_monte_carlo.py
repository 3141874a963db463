"""Monte Carlo against dynamic programming: the three forms, and what short episodes hide."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from eyehand.envs.grid_world import GridWorld, GridWorldEnv
from eyehand.functional.bellman import action_values, solve
from eyehand.functional.decision_process import DecisionProcess
from eyehand.rl.monte_carlo import (
    monte_carlo_basic,
    monte_carlo_epsilon_greedy,
    monte_carlo_exploring_starts,
)
from eyehand.rl.policy_iteration import policy_iteration
from eyehand.rl.tabular import Learned, TabularConfig
from eyehand.types import InputError

DISCOUNT = 0.8
Best = Callable[[DecisionProcess], np.ndarray]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(abs(found - wanted).max())


def test_basic_errs_by_what_lies_beyond_its_episodes(small: GridWorld, best: Best) -> None:
    """Rewards are at most 1, so the rest is worth discount**length / (1 - discount) at most."""
    wanted = best(small.process(discount=DISCOUNT))
    errors = []
    for length in (10, 20):
        config = TabularConfig(discount=DISCOUNT, length=length)
        found = monte_carlo_basic(GridWorldEnv(small), config, rounds=6)
        errors.append(error(found.values, wanted))
        assert 0 < errors[-1] <= DISCOUNT**length / (1 - DISCOUNT) + 1e-12
        gained = np.take_along_axis(wanted, found.values.argmax(axis=1)[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(gained, wanted.max(axis=1), atol=1e-12)
    assert errors[1] < 0.2 * errors[0]


def test_basic_sees_no_reward_beyond_its_episodes() -> None:
    corridor = GridWorld(
        rows=1, columns=8, target=(0, 7), forbidden=(), boundary_reward=0.0
    )  # fmt: skip
    config = TabularConfig(discount=DISCOUNT, length=4)
    values = monte_carlo_basic(GridWorldEnv(corridor), config, rounds=10).values.max(axis=1)
    assert not values[:3].any()
    assert (values[3:] > 0).all()


def test_basic_follows_the_policies_of_policy_iteration(small: GridWorld) -> None:
    config = TabularConfig(discount=DISCOUNT, length=60)
    seen: list[np.ndarray] = []
    monte_carlo_basic(
        GridWorldEnv(small), config, rounds=3, watch=lambda steps, values: seen.append(values)
    )
    process = small.process(discount=DISCOUNT)
    history = policy_iteration(process).history
    for values, exact in zip(seen, history, strict=False):
        np.testing.assert_allclose(values, action_values(process, exact), atol=1e-4)


def test_basic_takes_the_mean_where_chance_plays(slippery: GridWorld) -> None:
    """The first policy always goes up."""
    config = TabularConfig(discount=DISCOUNT, episodes=40, length=25)
    found = monte_carlo_basic(GridWorldEnv(slippery), config, rounds=1)
    process = slippery.process(discount=DISCOUNT)
    up = np.eye(5)[np.zeros(6, dtype=int)]
    wanted = action_values(process, solve(process.under(up)))
    assert error(found.values, wanted) < 0.4
    assert abs((found.values - wanted).mean()) < 0.05


def test_exploring_starts(small: GridWorld, best: Best) -> None:
    """Without chance in the world the last return is right up to what the tail hides."""
    config = TabularConfig(discount=DISCOUNT, step_size=1.0, episodes=300, length=25)
    found = monte_carlo_exploring_starts(GridWorldEnv(small), config, tail=20)
    wanted = best(small.process(discount=DISCOUNT))
    assert error(found.values, wanted) <= DISCOUNT**20 / (1 - DISCOUNT) + 1e-12


def test_a_mean_remembers_the_poor_policies_of_the_beginning(small: GridWorld, best: Best) -> None:
    config = TabularConfig(discount=DISCOUNT, step_size=1.0, power=1.0, episodes=200, length=25)
    found = monte_carlo_exploring_starts(GridWorldEnv(small), config, tail=20)
    wanted = best(small.process(discount=DISCOUNT))
    assert error(found.values, wanted) > 1


def test_returns_near_the_cut_are_too_small() -> None:
    """Reward of 1 for ever, and the negative control: to learn from every step of cut episodes."""
    world = GridWorld(
        rows=1, columns=6, target=(0, 5), forbidden=(), boundary_reward=1.0, other_reward=1.0
    )
    config = TabularConfig(
        discount=DISCOUNT, epsilon=1.0, step_size=1.0, power=1.0, episodes=200, length=12
    )
    worth = 1 / (1 - DISCOUNT)
    right = monte_carlo_epsilon_greedy(GridWorldEnv(world), config, tail=10).values
    assert (1 - DISCOUNT**10) * worth <= right.min() <= right.max() <= worth
    wrong = monte_carlo_epsilon_greedy(GridWorldEnv(world), config, tail=0).values
    assert wrong.min() < 0.8 * worth


def test_of_an_action_taken_again_and_again_the_first_time_counts() -> None:
    """One cell that pays 1 a step, five steps: all of them, not the mean of the last five sums."""
    world = GridWorld(rows=1, columns=1, target=(0, 0), forbidden=(), boundary_reward=1.0)
    config = TabularConfig(epsilon=0.0, step_size=1.0, power=1.0, episodes=3, length=5)
    values = monte_carlo_epsilon_greedy(GridWorldEnv(world), config, tail=0).values
    np.testing.assert_allclose(values, [[(1 - 0.9**5) / (1 - 0.9), 0, 0, 0, 0]], atol=1e-12)


def test_epsilon_greedy_finds_the_best_of_its_kind(small: GridWorld, best: Best) -> None:
    config = TabularConfig(
        discount=DISCOUNT, epsilon=0.5, step_size=1.0, power=0.9, episodes=500, length=80
    )
    found = monte_carlo_epsilon_greedy(GridWorldEnv(small), config, tail=20)
    process = small.process(discount=DISCOUNT)
    soft = process.soft(0.5)
    wanted = action_values(process, best(soft).max(axis=1))
    assert error(found.values, wanted) < 0.35
    assert error(found.values, best(process)) > 1.5  # which is not the best of all


def test_episodes_that_end_need_no_tail(ending: GridWorld) -> None:
    config = TabularConfig(step_size=1.0, power=0.7, epsilon=0.3, episodes=400, length=60)
    found = monte_carlo_epsilon_greedy(GridWorldEnv(ending), config, tail=59)
    assert found.lengths[-50:].mean() < 0.5 * found.lengths[:10].mean()
    assert found.values[ending.state((0, 0))].min() < -10  # learnt from whole episodes alone
    assert not found.values[ending.state(ending.target)].any()


@pytest.mark.parametrize(
    "method",
    [
        partial(monte_carlo_basic, rounds=8),
        partial(monte_carlo_exploring_starts, tail=0),
    ],
    ids=["basic", "exploring starts"],
)
def test_a_task_that_ends_is_begun_where_it_is_not_over(
    method: Callable[..., Learned], ending: GridWorld, best: Best
) -> None:
    """All but the target, which stays at 0; without chance the returns are exact, or cut at 60."""
    env = GridWorldEnv(ending)
    episodes = 1 if method.func is monte_carlo_basic else 1000
    config = TabularConfig(discount=DISCOUNT, step_size=1.0, episodes=episodes, length=60)
    found = method(env, config, starts=ending.starts).values
    assert not found[ending.state(ending.target)].any()
    assert error(found, best(ending.process(discount=DISCOUNT))) < 1e-3
    with pytest.raises(InputError, match="cannot begin in state 10, where it would be over"):
        method(env, config)


def test_errors_name_what_came(small: GridWorld) -> None:
    env, config = GridWorldEnv(small), TabularConfig(length=10)
    with pytest.raises(InputError, match=r"`rounds` must be at least 1. Got 0"):
        monte_carlo_basic(env, config, rounds=0)
    with pytest.raises(InputError, match=r"below the length of episodes, 10. Got 10"):
        monte_carlo_exploring_starts(env, config, tail=10)
    with pytest.raises(InputError, match=r"below the length of episodes, 10. Got -1"):
        monte_carlo_epsilon_greedy(env, config, tail=-1)
    with pytest.raises(InputError, match=r"must be states, 0 to 5, and at least one. Got \[2, 6\]"):
        monte_carlo_basic(env, config, rounds=1, starts=[2, 6])
    with pytest.raises(InputError, match=r"at least one. Got \[\]"):
        monte_carlo_exploring_starts(env, config, tail=0, starts=[])
