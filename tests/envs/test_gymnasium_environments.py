"""Gymnasium environments side by side: their actions, and what is refused."""

import gymnasium
import numpy as np
import pytest
import torch

from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.types import InputError


def test_numbers_fill_the_range_of_the_box() -> None:
    made = GymnasiumEnvironments.make("Pendulum-v1", 1)
    edge = made.scaled(torch.tensor([[-1.0], [1.0], [7.0]]))
    np.testing.assert_allclose(edge[:, 0], [-2, 2, 2])


def test_each_is_stepped_with_its_own_action() -> None:
    made, alone = (GymnasiumEnvironments.make("CartPole-v1", count) for count in (2, 1))
    for which in range(2):
        made.begin(which, 5)
    alone.begin(0, 5)
    seen = made.step(torch.tensor([0, 1]))[0]
    np.testing.assert_array_equal(seen[1], alone.step(torch.tensor([1]))[0][0])
    assert not np.array_equal(seen[0], seen[1])
    assert made.outcome(0) == {}


def test_a_robot_that_runs_says_how_far_it_came() -> None:
    made = GymnasiumEnvironments.make("HalfCheetah-v5", 1)
    made.begin(0, 0)
    for _ in range(5):
        made.step(torch.ones(1, 6))
    data = made.environments[0].unwrapped.data
    assert made.outcome(0) == {"x_position": data.qpos[0]}


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="'CartPol-v1' cannot be made"):
        GymnasiumEnvironments.make("CartPol-v1", 1)
    with pytest.raises(InputError, match=r"observations must be a Box of numbers\. Got Discrete"):
        GymnasiumEnvironments.make("FrozenLake-v1", 1)
    kinds = [gymnasium.make(name) for name in ("CartPole-v1", "Pendulum-v1")]
    with pytest.raises(InputError, match="must have the same spaces"):
        GymnasiumEnvironments(kinds)
