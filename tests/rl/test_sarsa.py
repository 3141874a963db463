"""Sarsa, expected Sarsa and n-step Sarsa against the exact values of exploring, and on a path."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from eyehand.envs.grid_world import PATH_TASK, GridWorld, GridWorldEnv
from eyehand.functional.bellman import action_values
from eyehand.functional.decision_process import DecisionProcess
from eyehand.functional.returns import discounted_return
from eyehand.rl.q_learning import q_learning
from eyehand.rl.sarsa import expected_sarsa, n_step_sarsa, sarsa
from eyehand.rl.tabular import Learned, TabularConfig, TabularEnv
from eyehand.types import InputError

DISCOUNT = 0.8
Best = Callable[[DecisionProcess], np.ndarray]


def exploring(world: GridWorld, epsilon: float, best: Best) -> np.ndarray:
    """The exact action values of the best epsilon-greedy policy."""
    process = world.process(discount=DISCOUNT)
    return action_values(process, best(process.soft(epsilon)).max(axis=1))


@pytest.mark.parametrize(
    ("method", "bound"),
    [(sarsa, 0.5), (expected_sarsa, 0.2), (partial(n_step_sarsa, n=3), 0.6)],
    ids=["sarsa", "expected", "3-step"],
)
def test_it_learns_what_exploring_is_worth(
    method: Callable[..., object], bound: float, small: GridWorld, best: Best
) -> None:
    config = TabularConfig(
        discount=DISCOUNT, epsilon=0.5, step_size=1.0, power=0.7, episodes=100, length=100
    )
    found = method(GridWorldEnv(small), config).values
    assert abs(found - exploring(small, 0.5, best)).max() < bound
    assert abs(found - best(small.process(discount=DISCOUNT))).max() > 1.5


@pytest.mark.parametrize("method", [sarsa, expected_sarsa, partial(n_step_sarsa, n=3)])
def test_if_exploring_dies_out_the_values_are_the_optimal_ones(
    method: Callable[..., Learned], small: GridWorld, best: Best
) -> None:
    config = TabularConfig(
        discount=DISCOUNT, epsilon=1.0, epsilon_power=0.3, step_size=1.0, power=0.6,
        episodes=2000, length=8,
    )  # fmt: skip
    found = method(GridWorldEnv(small), config).values.max(axis=1)
    assert abs(found - best(small.process(discount=DISCOUNT)).max(axis=1)).max() < 0.4
    # At a constant 0.5 the same values go elsewhere.
    assert abs(found - exploring(small, 0.5, best).max(axis=1)).max() > 2


def test_one_step_is_sarsa_to_the_bit(slippery: GridWorld, ending: GridWorld) -> None:
    for world in (slippery, ending):
        config = TabularConfig(discount=DISCOUNT, power=0.6, episodes=5, length=100)
        one = n_step_sarsa(GridWorldEnv(world), config, n=1)
        np.testing.assert_array_equal(one.values, sarsa(GridWorldEnv(world), config).values)


def test_expecting_the_greedy_action_is_q_learning_to_the_bit(
    slippery: GridWorld, ending: GridWorld
) -> None:
    for world in (slippery, ending):
        config = TabularConfig(discount=DISCOUNT, epsilon=0.3, episodes=5, length=100)
        expected = expected_sarsa(GridWorldEnv(world), config, target_epsilon=0.0)
        theirs = q_learning(GridWorldEnv(world), config)
        np.testing.assert_array_equal(expected.values, theirs.values)


def test_all_steps_are_monte_carlo(ending: GridWorld) -> None:
    """Whole episodes, and their returns by the function of the deep methods."""
    config = TabularConfig(discount=DISCOUNT, epsilon=0.3, step_size=0.2, episodes=8, length=10_000)
    found = n_step_sarsa(GridWorldEnv(ending), config, n=10_000)
    world, values = TabularEnv(GridWorldEnv(ending), config), np.zeros((ending.states, 5))
    for _ in range(8):
        places, rewards = [], []
        state = world.reset()
        action = world.explore(values[state])
        while not world.over:
            places.append((state, action))
            state, reward, terminated = world.step(action)
            rewards.append(reward)
            action = world.explore(values[state])
        assert terminated
        ended = torch.arange(len(rewards)) == len(rewards) - 1
        reward = torch.tensor(rewards, dtype=torch.float64)
        returns = discounted_return(reward, 0 * reward, ended, ended & False, discount=DISCOUNT)
        for place, total in zip(places, returns.tolist(), strict=True):
            values[place] += 0.2 * (total - values[place])
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-12)


def test_a_way_without_chance_is_learnt_exactly() -> None:
    """Without exploring, three cells in a row: the values of walking right."""
    world = GridWorld(
        rows=1, columns=3, target=(0, 2), forbidden=(), start=(0, 0), target_reward=1.0,
        boundary_reward=-1.0, other_reward=-0.1, target_ends=True,
    )  # fmt: skip
    config = TabularConfig(discount=DISCOUNT, epsilon=0.0, step_size=0.5, episodes=80, length=50)
    found = sarsa(GridWorldEnv(world), config)
    np.testing.assert_allclose(found.values[:2, 1], [-0.1 + DISCOUNT, 1.0], atol=1e-6)
    assert found.lengths[-1] == 2
    assert found.returns[-1] == pytest.approx(0.9)
    assert not found.values[2].any()


def test_the_path_task_of_the_book() -> None:
    """500 episodes, step size and exploration 0.1 (Zhao, 2025, sec. 7.2).

    Of seeds 0 to 7, three had not yet found the whole way by then, and two of expected Sarsa.
    """
    config = TabularConfig(epsilon=0.1, step_size=0.1, episodes=500, length=1000)
    found = sarsa(GridWorldEnv(PATH_TASK), config)
    assert found.returns[:20].mean() < -60
    assert found.returns[-100:].mean() > -30
    state, cells = PATH_TASK.state((0, 0)), []
    while state != PATH_TASK.state(PATH_TASK.target) and len(cells) < 30:
        cells.append(divmod(state, 5))
        state, _ = PATH_TASK.move(state, int(found.values[state].argmax()))
    assert not set(cells) & set(PATH_TASK.forbidden)
    assert len(cells) == 11  # the shortest way on which nothing is forbidden


def test_errors_name_what_came(small: GridWorld) -> None:
    env = GridWorldEnv(small)
    with pytest.raises(InputError, match=r"`n` must be at least 1 step. Got -3"):
        n_step_sarsa(env, TabularConfig(), n=-3)
    with pytest.raises(InputError, match=r"`target_epsilon` must be 0 to 1; got 2.0"):
        expected_sarsa(env, TabularConfig(), target_epsilon=2.0)
