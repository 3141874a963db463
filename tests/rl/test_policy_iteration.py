"""Policy iteration: the best of all policies, never a step back, value iteration as one extreme."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from eyehand.envs.grid_world import BOOK_GRID
from eyehand.functional.bellman import greedy_policy, solve
from eyehand.functional.decision_process import DecisionProcess
from eyehand.rl.policy_iteration import policy_iteration
from eyehand.rl.value_iteration import value_iteration
from eyehand.types import InputError


@pytest.mark.parametrize("seed", range(4))
def test_no_policy_is_better_in_any_state(
    random_process: Callable[..., DecisionProcess], seed: int
) -> None:
    process = random_process(seed, states=4)
    found = policy_iteration(process)
    for chosen in itertools.product(range(3), repeat=4):
        values = solve(process.under(np.eye(3)[list(chosen)]))
        assert (values <= found.values + 1e-9).all()
    np.testing.assert_allclose(solve(process.under(found.policy)), found.values, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_every_policy_is_at_least_as_good_as_the_one_before(
    random_process: Callable[..., DecisionProcess], seed: int
) -> None:
    process = random_process(seed, states=12)
    start = np.random.default_rng(seed).integers(3, size=12)
    history = policy_iteration(process, start=start).history
    np.testing.assert_allclose(history[0], solve(process.under(np.eye(3)[start])), atol=1e-12)
    assert len(history) > 1
    assert (np.diff(history, axis=0) >= -1e-12).all()
    assert (np.diff(history, axis=0).max(axis=1) > 1e-9).all()


def test_it_needs_far_fewer_rounds_than_value_iteration() -> None:
    process = BOOK_GRID.process(discount=0.9)
    exact, iterated = policy_iteration(process), value_iteration(process)
    np.testing.assert_allclose(exact.values, iterated.values, atol=1e-10)
    assert len(exact.history) < 15 < 100 < len(iterated.history)


def test_one_sweep_is_value_iteration(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(1)
    truncated = policy_iteration(process, sweeps=1).history
    swept = value_iteration(process).history
    both = min(len(truncated), len(swept))
    assert both > 50
    np.testing.assert_allclose(truncated[:both], swept[:both], atol=1e-12)


@pytest.mark.parametrize("sweeps", [1, 2, 10, 1000])
def test_truncated_evaluation_arrives_too(
    random_process: Callable[..., DecisionProcess], sweeps: int
) -> None:
    process = random_process(2)
    found = policy_iteration(process, sweeps=sweeps)
    np.testing.assert_allclose(found.values, policy_iteration(process).values, atol=1e-10)
    np.testing.assert_array_equal(found.policy, policy_iteration(process).policy)


def test_many_sweeps_are_the_exact_form(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(3)
    first = greedy_policy(process.reward).argmax(axis=1)  # greedy on values of 0
    exact = policy_iteration(process, start=first).history
    swept = policy_iteration(process, sweeps=1000).history
    np.testing.assert_allclose(swept[1 : len(exact) + 1], exact, atol=1e-10)


def test_values_of_truncated_rounds_are_no_policys() -> None:
    """They begin above those of any policy where every reward is negative."""
    process = BOOK_GRID.process(discount=0.9).affine(scale=1.0, shift=-2.0)
    history = policy_iteration(process, sweeps=2).history
    assert (history[1] > policy_iteration(process).values + 1).all()


def test_among_equal_actions_it_does_not_go_round() -> None:
    process = DecisionProcess(np.full((4, 5, 4), 0.25), np.ones((4, 5)), 0.99)
    found = policy_iteration(process, start=np.array([3, 1, 4, 0]))
    assert len(found.history) == 1
    np.testing.assert_array_equal(found.policy.argmax(axis=1), [3, 1, 4, 0])


def test_errors_name_what_came(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(0, states=12)
    with pytest.raises(InputError, match=r"sweeps or rounds. Got 0"):
        policy_iteration(process, sweeps=0)
    with pytest.raises(InputError, match="leave it out"):
        policy_iteration(process, sweeps=1, start=np.zeros(12, dtype=int))
    with pytest.raises(InputError, match="1 rounds did not find a policy"):
        policy_iteration(process, rounds=1)
    with pytest.raises(InputError, match=r"2 rounds of 3 sweeps did not bring.*1e-10"):
        policy_iteration(process, sweeps=3, rounds=2)
    with pytest.raises(InputError, match=r"tolerance must be above 0. Got -1"):
        policy_iteration(process, tolerance=-1.0)
