"""Q-learning against the optimal values, whatever policy acts."""

from collections.abc import Callable

import numpy as np
import pytest

from eyehand.envs.grid_world import BOOK_GRID, GridWorld, GridWorldEnv
from eyehand.functional.decision_process import DecisionProcess
from eyehand.rl.q_learning import off_policy_q_learning, q_learning
from eyehand.rl.sarsa import sarsa
from eyehand.rl.tabular import TabularConfig
from eyehand.types import InputError

DISCOUNT = 0.8
Best = Callable[[DecisionProcess], np.ndarray]


def test_it_learns_the_optimal_values_while_exploring(small: GridWorld, best: Best) -> None:
    config = TabularConfig(discount=DISCOUNT, epsilon=0.5, step_size=1.0, episodes=50, length=100)
    found = q_learning(GridWorldEnv(small), config)
    wanted = best(small.process(discount=DISCOUNT))
    assert abs(found.values - wanted).max() < 1e-3


def test_it_learns_them_through_chance(slippery: GridWorld, best: Best) -> None:
    config = TabularConfig(
        discount=DISCOUNT, epsilon=0.5, step_size=1.0, power=0.7, episodes=100, length=100
    )
    found = q_learning(GridWorldEnv(slippery), config)
    wanted = best(slippery.process(discount=DISCOUNT))
    assert abs(found.values - wanted).max() < 0.3


def test_from_a_random_policy_it_learns_the_best(best: Best) -> None:
    """One uniform episode in the book's grid world; steps of size 1, because nothing is random."""
    config = TabularConfig(step_size=1.0, length=12_000)
    uniform = np.full((25, 5), 0.2)
    found = off_policy_q_learning(GridWorldEnv(BOOK_GRID), uniform, config)
    wanted = best(BOOK_GRID.process(discount=0.9))
    assert abs(found.values - wanted).max() < 0.02


@pytest.mark.slow
def test_the_off_policy_run_of_the_book(best: Best) -> None:
    """One uniform episode of 100,000 steps, step size 0.1 (Zhao, 2025, sec. 7.4): 7 seconds."""
    config = TabularConfig(step_size=0.1, length=100_000)
    found = off_policy_q_learning(GridWorldEnv(BOOK_GRID), np.full((25, 5), 0.2), config)
    assert abs(found.values - best(BOOK_GRID.process(discount=0.9))).max() < 0.05
    first = found.values.max(axis=1)[:5]
    np.testing.assert_allclose(first, [5.8, 5.6, 6.2, 6.5, 5.8], atol=0.1)


def test_what_is_never_tried_is_never_learnt(small: GridWorld, best: Best) -> None:
    """The negative control: a behaviour that stands still or walks to the right."""
    behaviour = np.tile([0.0, 0.5, 0.0, 0.0, 0.5], (6, 1))
    config = TabularConfig(discount=DISCOUNT, step_size=1.0, episodes=50, length=20)
    found = off_policy_q_learning(GridWorldEnv(small), behaviour, config)
    assert not found.values[:, [0, 2, 3]].any()
    assert abs(found.values - best(small.process(discount=DISCOUNT))).max() > 1


def test_the_greedy_policy_of_q_is_better_and_its_exploring_worse_than_sarsas() -> None:
    """A cliff: the shortest way runs along it (Sutton and Barto, 2018, example 6.6)."""
    cliff = GridWorld(
        rows=3, columns=6, target=(2, 5), forbidden=tuple((2, column) for column in range(1, 5)),
        start=(2, 0), target_reward=0.0, forbidden_reward=-30.0, boundary_reward=-1.0,
        other_reward=-1.0, target_ends=True,
    )  # fmt: skip
    config = TabularConfig(discount=0.99, epsilon=0.2, step_size=0.2, episodes=400, length=200)
    learnt = {method: method(GridWorldEnv(cliff), config) for method in (sarsa, q_learning)}
    late = {method: found.returns[-200:].mean() for method, found in learnt.items()}
    assert late[sarsa] > late[q_learning] + 0.5

    def greedy_return(values: np.ndarray) -> float:
        state, total = cliff.state((2, 0)), 0.0
        for _ in range(100):
            state, reward = cliff.move(state, int(values[state].argmax()))
            total += reward
            if state == cliff.state(cliff.target):
                break
        return total

    assert greedy_return(learnt[q_learning].values) == -6  # up, five to the right, down
    assert greedy_return(learnt[sarsa].values) < -6


def test_a_behaviour_that_is_none_is_refused(small: GridWorld) -> None:
    env = GridWorldEnv(small)
    with pytest.raises(InputError, match=r"6 states and 5 actions. Got 4 and 5"):
        off_policy_q_learning(env, np.full((4, 5), 0.2), TabularConfig())
    with pytest.raises(InputError, match="sum to 1"):
        off_policy_q_learning(env, np.full((6, 5), 0.1), TabularConfig())
