"""Linear values against tables, against the projected equation, and where they diverge."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest

from eyehand.envs.grid_world import GridWorld, GridWorldEnv
from eyehand.functional.bellman import projected_weights, solve
from eyehand.functional.decision_process import (
    DecisionProcess,
    RewardProcess,
    stationary_distribution,
)
from eyehand.functional.value_features import (
    fourier_features,
    polynomial_features,
    tile_features,
)
from eyehand.rl.linear_values import (
    lstd,
    semi_gradient_q_learning,
    semi_gradient_sarsa,
    semi_gradient_td,
)
from eyehand.rl.q_learning import q_learning
from eyehand.rl.sarsa import sarsa
from eyehand.rl.tabular import TabularConfig, TabularEnv
from eyehand.rl.temporal_difference import td_0
from eyehand.types import InputError

DISCOUNT = 0.8
Best = Callable[[DecisionProcess], np.ndarray]


def uniform(world: GridWorld) -> np.ndarray:
    return np.full((world.states, 5), 0.2)


def followed(world: GridWorld) -> RewardProcess:
    return world.process(discount=DISCOUNT).under(uniform(world))


def test_a_feature_for_each_state_gives_the_tables_back(slippery: GridWorld) -> None:
    env = GridWorldEnv(slippery)
    config = TabularConfig(discount=DISCOUNT, epsilon=0.3, step_size=0.2, episodes=3, length=300)
    weights = semi_gradient_td(env, uniform(slippery), np.eye(6), config)
    np.testing.assert_allclose(weights, td_0(env, uniform(slippery), config), atol=1e-12)
    weights = semi_gradient_sarsa(env, np.eye(6), config)
    np.testing.assert_allclose(weights.T, sarsa(env, config).values, atol=1e-12)
    weights = semi_gradient_q_learning(env, np.eye(6), config)
    np.testing.assert_allclose(weights.T, q_learning(env, config).values, atol=1e-12)


@pytest.mark.parametrize(
    "features",
    [
        lambda place: polynomial_features(2 * place - 1, degree=1),
        lambda place: fourier_features(place, order=1),
    ],
    ids=["polynomial", "Fourier"],
)
def test_lstd_solves_the_projected_equation_of_what_it_saw(
    features: Callable[[np.ndarray], np.ndarray], slippery: GridWorld
) -> None:
    """Exactly, where the process is that of the steps counted; nearly, of the true one."""
    phi = features(slippery.middles())
    config = TabularConfig(discount=DISCOUNT, length=3000)
    weights = lstd(GridWorldEnv(slippery), uniform(slippery), phi, config)
    counts, paid = np.zeros((6, 6)), np.zeros(6)
    for step in TabularEnv(GridWorldEnv(slippery), config).follow(uniform(slippery)):
        counts[step.state, step.next_state] += 1
        paid[step.state] += step.reward
    visits = counts.sum(axis=1)
    seen = RewardProcess(counts / visits[:, None], paid / visits, DISCOUNT)
    exact = projected_weights(seen, phi, share=visits / visits.sum())
    np.testing.assert_allclose(weights, exact, rtol=0, atol=1e-10)
    true = followed(slippery)
    share = stationary_distribution(true.transition)
    limit = projected_weights(true, phi, share=share)
    assert abs(phi @ (weights - limit)).max() < 0.25


def test_semi_gradient_td_goes_where_lstd_does(small: GridWorld) -> None:
    phi = polynomial_features(2 * small.middles() - 1, degree=1)
    true = followed(small)
    limit = projected_weights(true, phi, share=stationary_distribution(true.transition))
    config = TabularConfig(discount=DISCOUNT, step_size=0.5, power=0.6, length=8000)
    weights = semi_gradient_td(GridWorldEnv(small), uniform(small), phi, config)
    assert abs(phi @ (weights - limit)).max() < 0.12
    # A plane cannot say it all: this is not the truth.
    assert abs(phi @ weights - solve(true)).max() > 0.2


def test_ends_count_as_nothing() -> None:
    world = GridWorld(
        rows=1, columns=2, target=(0, 1), forbidden=(), start=(0, 0), target_ends=True
    )
    right, phi = np.eye(5)[[1, 1]], np.array([[1.0], [5.0]])
    config = TabularConfig(step_size=0.5, episodes=60)
    env = GridWorldEnv(world)
    np.testing.assert_allclose(lstd(env, right, phi, config), [1.0], atol=1e-12)
    found = semi_gradient_td(env, right, phi, config)
    np.testing.assert_allclose(found, [1.0], atol=1e-12)


def test_tiles_learn_to_act(small: GridWorld, best: Best) -> None:
    phi = tile_features(small.middles(), tilings=2, tiles=3)
    config = TabularConfig(
        discount=DISCOUNT, epsilon=0.3, step_size=0.5, power=0.3, episodes=150, length=100
    )
    weights = semi_gradient_sarsa(GridWorldEnv(small), phi, config)
    process = small.process(discount=DISCOUNT)
    values = solve(process.under(np.eye(5)[(phi @ weights.T).argmax(axis=1)]))
    np.testing.assert_allclose(values, best(process).max(axis=1), atol=1e-12)


def test_tiles_that_can_say_it_all_learn_the_optimal_values(small: GridWorld, best: Best) -> None:
    """Nothing is random but the actions, so steps need not get smaller."""
    phi = tile_features(small.middles(), tilings=2, tiles=3)
    config = TabularConfig(discount=DISCOUNT, epsilon=0.3, step_size=0.4, episodes=200, length=100)
    weights = semi_gradient_q_learning(GridWorldEnv(small), phi, config)
    wanted = best(small.process(discount=DISCOUNT))
    assert abs(phi @ weights.T - wanted).max() < 0.01


class TwoStates(gymnasium.Env[int, int]):
    """One goes to two, two stays, and each step pays 1. If only one is seen, TD's weight grows."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action):  # type: ignore[no-untyped-def]
        self.state = 1
        return 1, 1.0, False, False, {}


def test_divergence_is_noticed_and_said(small: GridWorld) -> None:
    """Learning at the first state alone, whose target is twice its value: the weight runs away
    (Tsitsiklis and Van Roy, 1996)."""
    phi, policy = np.array([[1.0], [2.0]]), np.ones((2, 1))
    config = TabularConfig(step_size=0.5, episodes=200, length=1)
    with pytest.raises(InputError, match=r"step_size=0.5; .* If the states are not those of"):
        semi_gradient_td(TwoStates(), policy, phi, config)
    on_policy = TabularConfig(step_size=0.1, length=500)
    assert np.isfinite(semi_gradient_td(TwoStates(), policy, phi, on_policy)).all()
    wide = 10 * np.ones((6, 1))
    for method in (semi_gradient_sarsa, semi_gradient_q_learning):
        with pytest.raises(InputError, match="diverge with step_size=1"):
            method(GridWorldEnv(small), wide, TabularConfig(step_size=1.0, length=500))


def test_errors_name_what_came(small: GridWorld) -> None:
    env, policy, config = GridWorldEnv(small), uniform(small), TabularConfig(length=3)
    with pytest.raises(InputError, match="features must be finite"):
        semi_gradient_sarsa(env, np.full((6, 1), np.nan), config)
    with pytest.raises(InputError, match=r"must be 6 rows of features.*Got 8"):
        semi_gradient_q_learning(env, np.eye(8), config)
    with pytest.raises(InputError, match=r"must determine 6 weights. They determine \d: take"):
        lstd(env, policy, np.eye(6), config)
    with pytest.raises(InputError, match="sum to 1"):
        lstd(env, 2 * policy, np.eye(6), config)
