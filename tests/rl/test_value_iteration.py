"""Value iteration: the published values, the promised error, and how fast it gets there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eyehand.envs.grid_world import BOOK_GRID
from eyehand.functional.bellman import optimality_residual, solve
from eyehand.functional.decision_process import DecisionProcess
from eyehand.rl.policy_iteration import policy_iteration
from eyehand.rl.value_iteration import value_iteration
from eyehand.types import InputError


@pytest.mark.parametrize(
    ("forbidden", "row"),
    [(-1.0, [5.8, 5.6, 6.2, 6.5, 5.8]), (-10.0, [3.5, 3.9, 4.3, 4.8, 5.3])],
)
def test_the_published_values_of_the_grid_world(forbidden: float, row: list[float]) -> None:
    """Zhao, 2025, figure 3.4: the first row, and the target."""
    world = replace(BOOK_GRID, forbidden_reward=forbidden)
    values = value_iteration(world.process(discount=0.9)).values.reshape(5, 5)
    np.testing.assert_array_equal(values[0].round(1), row)
    assert values[world.target].round(1) == 10.0


def test_a_dearer_forbidden_cell_makes_a_longer_way() -> None:
    """From the upper right of the target: through a forbidden cell, or round it."""
    place = BOOK_GRID.state((2, 3))
    cells = []
    for paid in (-1.0, -10.0):
        world = replace(BOOK_GRID, forbidden_reward=paid)
        policy = value_iteration(world.process(discount=0.9)).policy
        state, _ = world.move(place, int(policy[place].argmax()))
        cells.append(divmod(state, 5))
    assert cells[0] in BOOK_GRID.forbidden
    assert cells[1] == (2, 4)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-10])
def test_it_is_as_near_as_promised(
    random_process: Callable[..., DecisionProcess], discount: float, tolerance: float
) -> None:
    process = random_process(0, discount=discount)
    truth = policy_iteration(process).values
    found = value_iteration(process, tolerance=tolerance)
    assert abs(found.values - truth).max() <= tolerance + 1e-12


def test_small_changes_do_not_mean_small_errors(
    random_process: Callable[..., DecisionProcess],
) -> None:
    """The negative control: stopping when a sweep changes less than 1e-3."""
    process = random_process(1, discount=0.99)
    history = value_iteration(process).history
    changes = abs(np.diff(history, axis=0)).max(axis=1)
    stopped = history[1:][changes < 1e-3][0]
    assert abs(stopped - history[-1]).max() > 0.05


def test_every_sweep_brings_it_nearer_by_the_discount(
    random_process: Callable[..., DecisionProcess],
) -> None:
    process = random_process(2)
    history = value_iteration(process).history
    errors = abs(history - policy_iteration(process).values).max(axis=1)
    assert (errors[1:] <= 0.9 * errors[:-1] + 1e-12).all()
    assert not history[0].any()


def test_the_policy_is_worth_its_values(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(3)
    found = value_iteration(process)
    np.testing.assert_allclose(solve(process.under(found.policy)), found.values, atol=1e-9)
    assert optimality_residual(process, found.values) < 1e-10


def test_from_the_answer_it_takes_one_sweep(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(4)
    answer = policy_iteration(process).values
    assert len(value_iteration(process, start=answer).history) == 2


def test_affine_rewards_change_values_and_no_action() -> None:
    process = BOOK_GRID.process(discount=0.9)
    plain = value_iteration(process)
    changed = value_iteration(process.affine(scale=2.0, shift=3.0))
    np.testing.assert_allclose(changed.values, 2 * plain.values + 3 / (1 - 0.9), atol=1e-8)
    np.testing.assert_array_equal(changed.policy, plain.policy)


def test_errors_name_what_came(random_process: Callable[..., DecisionProcess]) -> None:
    process = random_process(0)
    with pytest.raises(InputError, match=r"tolerance must be above 0. Got 0"):
        value_iteration(process, tolerance=0.0)
    with pytest.raises(InputError, match=r"1 to 1,000,000 sweeps or rounds. Got 0"):
        value_iteration(process, sweeps=0)
    with pytest.raises(InputError, match="3 sweeps did not bring the values within 1e-10"):
        value_iteration(process, sweeps=3)
