"""Bellman's operators: solutions by two ways, the properties of the theory, projected equations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64

from eyehand.functional.bellman import (
    action_values,
    epsilon_greedy_policy,
    expectation_update,
    greedy_policy,
    optimality_residual,
    optimality_update,
    projected_weights,
    solve,
)
from eyehand.functional.decision_process import (
    DecisionProcess,
    RewardProcess,
    stationary_distribution,
)
from eyehand.types import InputError

Values = Float64[np.ndarray, " state"]


def random_process(seed: int, discount: float = 0.9) -> DecisionProcess:
    """Six states, three actions; many next states are all but impossible."""
    random = np.random.default_rng(seed)
    transition = random.dirichlet(np.full(6, 0.2), size=(6, 3))
    return DecisionProcess(transition, random.normal(size=(6, 3)), discount)


def random_reward_process(seed: int, discount: float = 0.9) -> RewardProcess:
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), size=6)
    return random_process(seed, discount).under(policy)


def distance(one: Values, two: Values) -> float:
    return float(abs(one - two).max())


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_where_iteration_goes(seed: int, discount: float) -> None:
    process = random_reward_process(seed, discount)
    values = np.zeros(6)
    for _ in range(math.ceil(math.log(1e-13) / math.log(max(discount, 0.1)))):
        values = expectation_update(process, values)
    np.testing.assert_allclose(solve(process), values, rtol=0, atol=1e-10)


seeds = st.integers(0, 10_000)
discounts = st.floats(0, 0.99)


@settings(max_examples=40)
@given(seeds, discounts)
def test_both_operators_contract_by_the_discount(seed: int, discount: float) -> None:
    random = np.random.default_rng(seed)
    one, two = random.normal(scale=10, size=(2, 6))
    process, followed = random_process(seed, discount), random_reward_process(seed, discount)
    least = discount * distance(one, two) + 1e-12
    assert distance(optimality_update(process, one), optimality_update(process, two)) <= least
    assert distance(expectation_update(followed, one), expectation_update(followed, two)) <= least


def test_the_factor_of_the_contraction_is_reached() -> None:
    """Values that differ by the same everywhere: the bound cannot be made smaller."""
    process, values = random_process(0), np.random.default_rng(0).normal(size=6)
    apart = distance(optimality_update(process, values), optimality_update(process, values + 1))
    assert apart == pytest.approx(0.9)


@settings(max_examples=40)
@given(seeds, discounts)
def test_both_operators_are_monotone(seed: int, discount: float) -> None:
    random = np.random.default_rng(seed)
    low = random.normal(size=6)
    high = low + random.exponential(size=6)
    process, followed = random_process(seed, discount), random_reward_process(seed, discount)
    assert (optimality_update(process, low) <= optimality_update(process, high) + 1e-12).all()
    assert (expectation_update(followed, low) <= expectation_update(followed, high) + 1e-12).all()


@settings(max_examples=40)
@given(seeds)
def test_acting_greedily_on_a_policys_values_is_never_worse(seed: int) -> None:
    process = random_process(seed)
    policy = np.random.default_rng(seed + 1).dirichlet(np.ones(3), size=6)
    before = solve(process.under(policy))
    after = solve(process.under(greedy_policy(action_values(process, before))))
    assert (after >= before - 1e-12).all()


def test_the_residual_bounds_the_error() -> None:
    process, random = random_process(1), np.random.default_rng(1)
    best = np.zeros(6)
    for _ in range(400):
        best = optimality_update(process, best)
    assert optimality_residual(process, best) < 1e-12
    for scale in (0.01, 1.0, 100.0):
        values = best + random.normal(scale=scale, size=6)
        error, residual = distance(values, best), optimality_residual(process, values)
        assert residual / (1 + 0.9) <= error <= residual / (1 - 0.9)


def test_a_policys_values_are_the_mean_of_its_action_values() -> None:
    process = random_process(2)
    policy = np.random.default_rng(2).dirichlet(np.ones(3), size=6)
    values = solve(process.under(policy))
    mean = (policy * action_values(process, values)).sum(axis=1)
    np.testing.assert_allclose(mean, values, atol=1e-12)


def test_epsilon_greedy_is_between_greedy_and_uniform() -> None:
    values = np.random.default_rng(0).normal(size=(6, 3))
    greedy = epsilon_greedy_policy(values, epsilon=0.0)
    np.testing.assert_array_equal(greedy, greedy_policy(values))
    np.testing.assert_allclose(epsilon_greedy_policy(values, epsilon=1.0), 1 / 3)
    some = epsilon_greedy_policy(values, epsilon=0.3)
    np.testing.assert_allclose(some.sum(axis=1), 1)
    assert some.min() == pytest.approx(0.1)
    assert (some.argmax(axis=1) == values.argmax(axis=1)).all()
    with pytest.raises(InputError, match=r"got -0.1"):
        epsilon_greedy_policy(values, epsilon=-0.1)


def test_features_for_each_state_project_nothing() -> None:
    process = random_reward_process(0)
    weights = projected_weights(process, np.eye(6), share=np.full(6, 1 / 6))
    np.testing.assert_allclose(weights, solve(process), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_projected_values_solve_their_equation_and_keep_their_bound(seed: int) -> None:
    process = random_reward_process(seed)
    share = stationary_distribution(process.transition)
    features = np.random.default_rng(seed).normal(size=(6, 2))
    values = features @ projected_weights(process, features, share=share)

    def project(target: Values) -> Values:
        root = np.sqrt(share)[:, None]
        return features @ np.linalg.lstsq(root * features, root[:, 0] * target, rcond=None)[0]

    np.testing.assert_allclose(project(expectation_update(process, values)), values, atol=1e-10)
    truth = solve(process)
    error, least = (np.sqrt(share @ (v - truth) ** 2) for v in (values, project(truth)))
    assert least <= error + 1e-12 <= least / np.sqrt(1 - 0.9**2) + 1e-9


def test_features_that_repeat_each_other_are_refused() -> None:
    process = random_reward_process(0)
    with pytest.raises(InputError, match=r"the 2 features must be linearly independent.*rank 1"):
        projected_weights(process, np.ones((6, 2)), share=np.full(6, 1 / 6))
