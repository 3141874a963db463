"""Temporal differences against the closed form, one step against many, ends against cuts."""

import numpy as np
import pytest
import torch

from eyehand.envs.grid_world import GridWorld, GridWorldEnv
from eyehand.functional.bellman import solve
from eyehand.functional.returns import discounted_return
from eyehand.rl.tabular import TabularConfig, TabularEnv
from eyehand.rl.temporal_difference import n_step_td, td_0
from eyehand.types import InputError

DISCOUNT = 0.8
STAY = np.eye(5)[[4]]


def uniform(world: GridWorld) -> np.ndarray:
    return np.full((world.states, 5), 0.2)


def truth(world: GridWorld, discount: float = DISCOUNT) -> np.ndarray:
    return solve(world.process(discount=discount).under(uniform(world)))


@pytest.mark.parametrize("n", [1, 3])
def test_it_learns_the_values_of_a_policy(slippery: GridWorld, n: int) -> None:
    config = TabularConfig(discount=DISCOUNT, step_size=1.0, power=0.7, length=8000)
    found = n_step_td(GridWorldEnv(slippery), uniform(slippery), config, n=n)
    assert abs(found - truth(slippery)).max() < 0.15


def test_one_step_is_td_0_to_the_bit(slippery: GridWorld) -> None:
    config = TabularConfig(discount=DISCOUNT, step_size=0.5, power=0.6, episodes=4, length=200)
    env, policy = GridWorldEnv(slippery), uniform(slippery)
    np.testing.assert_array_equal(td_0(env, policy, config), n_step_td(env, policy, config, n=1))


def test_all_steps_are_monte_carlo(ending: GridWorld) -> None:
    """Returns of whole episodes, by the function of the deep methods, learnt from one by one."""
    config = TabularConfig(discount=DISCOUNT, step_size=0.2, episodes=10, length=100_000)
    found = n_step_td(GridWorldEnv(ending), uniform(ending), config, n=100_000)
    world, values = TabularEnv(GridWorldEnv(ending), config), np.zeros(ending.states)
    for _ in range(10):
        steps = list(world.follow(uniform(ending)))
        reward = torch.tensor([step.reward for step in steps], dtype=torch.float64)
        ended = torch.tensor([step.terminated for step in steps])
        returns = discounted_return(
            reward, torch.zeros_like(reward), ended, ended & False, discount=DISCOUNT
        )
        for step, total in zip(steps, returns.tolist(), strict=True):
            values[step.state] += 0.2 * (total - values[step.state])
    np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_reward_forever_keeps_its_worth_where_episodes_are_cut_short(n: int) -> None:
    world = GridWorld(rows=1, columns=1, target=(0, 0), forbidden=())
    config = TabularConfig(discount=DISCOUNT, step_size=0.5, episodes=60, length=5)
    found = n_step_td(GridWorldEnv(world), STAY, config, n=n)
    assert found[0] == pytest.approx(1 / (1 - DISCOUNT), abs=1e-3)


def test_after_the_end_nothing_is_worth_anything() -> None:
    world = GridWorld(
        rows=1, columns=2, target=(0, 1), forbidden=(), start=(0, 0), target_ends=True
    )
    right = np.eye(5)[[1, 1]]
    config = TabularConfig(discount=DISCOUNT, step_size=0.5, episodes=60, length=5)
    for found in (
        td_0(GridWorldEnv(world), right, config),
        n_step_td(GridWorldEnv(world), right, config, n=3),
    ):
        np.testing.assert_allclose(found, [1.0, 0.0], atol=1e-12)


def test_a_power_of_1_is_allowed_and_slow() -> None:
    """The conditions of Robbins and Monro hold; the error falls like n**-(1 - discount)."""
    world = GridWorld(rows=1, columns=1, target=(0, 0), forbidden=())
    errors = {}
    for power in (0.6, 1.0):
        config = TabularConfig(step_size=1.0, power=power, length=2000)
        errors[power] = 10 - td_0(GridWorldEnv(world), STAY, config)[0]
    assert errors[0.6] < 0.1
    # The product of 1 - 0.1 / k, for k from 1 to 2000, is about 2000**-0.1 / gamma(0.9).
    assert errors[1.0] == pytest.approx(10 * 2000**-0.1 / 1.0686, rel=1e-3)


def test_it_can_be_watched(small: GridWorld) -> None:
    seen: list[tuple[int, float]] = []
    config = TabularConfig(length=20)
    td_0(
        GridWorldEnv(small), uniform(small), config,
        watch=lambda steps, values: seen.append((steps, values.sum())),
    )  # fmt: skip
    assert [steps for steps, _ in seen] == list(range(1, 21))
    assert len({total for _, total in seen}) > 3


def test_errors_name_what_came(small: GridWorld) -> None:
    env = GridWorldEnv(small)
    with pytest.raises(InputError, match=r"`n` must be at least 1 step. Got 0"):
        n_step_td(env, uniform(small), TabularConfig(), n=0)
    for method in (td_0, lambda *rest: n_step_td(*rest, n=2)):
        with pytest.raises(InputError, match=r"6 states and 5 actions. Got 6 and 2"):
            method(env, np.full((6, 2), 0.5), TabularConfig())
