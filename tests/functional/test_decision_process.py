"""Processes follow from each other, softness and affine rewards do what they say, errors speak."""

import itertools

import numpy as np
import pytest

from eyehand.functional.bellman import action_values, epsilon_greedy_policy, solve
from eyehand.functional.decision_process import (
    DecisionProcess,
    RewardProcess,
    distribution_after,
    stationary_distribution,
)
from eyehand.types import InputError


def random_process(seed: int, *, states: int = 4, actions: int = 3) -> DecisionProcess:
    random = np.random.default_rng(seed)
    transition = random.dirichlet(np.full(states, 0.5), size=(states, actions))
    return DecisionProcess(transition, random.normal(size=(states, actions)), 0.8)


def test_a_policy_mixes_rows_and_rewards() -> None:
    process = random_process(0)
    policy = np.random.default_rng(1).dirichlet(np.ones(3), size=4)
    followed = process.under(policy)
    for state in range(4):
        mixed = sum(policy[state, a] * process.transition[state, a] for a in range(3))
        np.testing.assert_allclose(followed.transition[state], mixed, atol=1e-15)
        assert followed.reward[state] == pytest.approx(policy[state] @ process.reward[state])
    assert (followed.states, process.actions, followed.discount) == (4, 3, 0.8)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_softness_in_the_world_is_softness_of_the_policy(epsilon: float) -> None:
    """Of all epsilon-greedy policies, written out, none is better anywhere."""
    process = random_process(2, states=3)
    soft = process.soft(epsilon)
    worth = []
    for chosen in itertools.product(range(3), repeat=3):
        policy = np.eye(3)[list(chosen)]
        inside = solve(soft.under(policy))
        outside = solve(process.under(epsilon_greedy_policy(policy, epsilon=epsilon)))
        np.testing.assert_allclose(inside, outside, atol=1e-12)
        worth.append(inside)
    best = np.max(worth, axis=0)
    np.testing.assert_allclose(action_values(soft, best).max(axis=1), best, atol=1e-12)


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (0.5, 3.0), (-1.0, 1.0)])
def test_affine_rewards_make_affine_values(scale: float, shift: float) -> None:
    process = random_process(3)
    changed = process.affine(scale=scale, shift=shift)
    policy = process.uniform_policy()
    wanted = scale * solve(process.under(policy)) + shift / (1 - 0.8)
    np.testing.assert_allclose(solve(changed.under(policy)), wanted, atol=1e-12)


def test_a_markov_process_forgets_its_start() -> None:
    transition = random_process(4).under(np.full((4, 3), 1 / 3)).transition
    stationary = stationary_distribution(transition)
    np.testing.assert_allclose(stationary @ transition, stationary, atol=1e-14)
    assert stationary.sum() == pytest.approx(1)
    for first in range(4):
        later = distribution_after(transition, np.eye(4)[first], steps=200)
        np.testing.assert_allclose(later, stationary, atol=1e-12)
    one = distribution_after(transition, np.eye(4)[2], steps=1)
    np.testing.assert_array_equal(one, transition[2])


def test_states_that_are_left_for_good_have_no_share() -> None:
    transition = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(stationary_distribution(transition), [0, 0.5, 0.5], atol=1e-12)


def test_parts_without_a_way_between_them_are_refused() -> None:
    with pytest.raises(InputError, match="has 3 parts that it never leaves"):
        stationary_distribution(np.eye(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transition": np.full((2, 1, 2), 0.6)}, r"Got \[0.6, 0.6\] at \(0, 0\)"),
        ({"transition": np.array([[[2.0, -1.0]], [[0.0, 1.0]]])}, r"Got \[2.0, -1.0\]"),
        ({"transition": np.full((2, 1, 2), np.nan)}, r"Got \[nan, nan\]"),
        ({"reward": np.array([[0.0], [np.nan]])}, r"finite number. Got nan at \(1, 0\)"),
        ({"reward": np.array([[-np.inf], [0.0]])}, r"Got -inf at \(0, 0\)"),
        ({"discount": 1.0}, "below 1; got 1.0"),
        ({"discount": float("nan")}, "got nan"),
    ],
)
def test_what_is_no_process_is_refused(change: dict[str, object], said: str) -> None:
    right = {"transition": np.full((2, 1, 2), 0.5), "reward": np.zeros((2, 1)), "discount": 0.9}
    DecisionProcess(**right)
    with pytest.raises(InputError, match=said):
        DecisionProcess(**(right | change))


def test_other_errors_name_what_came() -> None:
    process = random_process(0)
    with pytest.raises(InputError, match=r"row of `policy`.*at \(0,\)"):
        process.under(np.full((4, 3), 0.5))
    with pytest.raises(InputError, match=r"epsilon must be 0 to 1; got 1.5"):
        process.soft(1.5)
    with pytest.raises(InputError, match=r"`start` must be probabilities.*Got \[1.0, 1.0\]\."):
        distribution_after(np.eye(2), np.ones(2), steps=1)
    with pytest.raises(InputError, match="Got inf at"):
        RewardProcess(np.eye(2), np.array([np.inf, 0.0]), 0.9)
