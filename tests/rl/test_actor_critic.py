"""Moments of a stream, distributions over both kinds of actions, and where the weights begin."""

import gymnasium
import numpy as np
import pytest
import torch

from eyehand.rl.actor_critic import ActorCritic, RunningMoments
from eyehand.rl.on_policy import OnPolicyConfig
from eyehand.types import InputError


def test_moments_of_parts_are_those_of_the_whole() -> None:
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
    moments = RunningMoments(3)
    for part in rows.split([1, 9, 490, 500]):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, rows.double().mean(dim=0))
    np.testing.assert_allclose(moments.variance, rows.double().var(dim=0, correction=0))
    scaled = moments.normalize(rows)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)


def test_actions_of_both_kinds_have_their_log_probability() -> None:
    spaces = (gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,), np.float32))
    observation = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    for space in spaces:
        torch.manual_seed(0)
        network = ActorCritic(4, space, normalize=True)
        action = network.act(observation)
        log_prob, entropy, value = network(observation, action)
        assert log_prob.shape == entropy.shape == value.shape == (7,)
        most = network.act(observation, draw=False)
        assert (network(observation, most)[0] >= log_prob - 1e-6).all()
        # With a small last layer all actions are about equally probable at first.
        if isinstance(space, gymnasium.spaces.Discrete):
            even = torch.full((7,), float(np.log(3)))
            torch.testing.assert_close(entropy, even, atol=1e-3, rtol=0)
        else:
            assert most.abs().max() < 0.05


def test_weights_begin_orthogonal() -> None:
    network = ActorCritic(8, gymnasium.spaces.Discrete(2), dims=(8, 8))
    first = network.value[0].weight
    torch.testing.assert_close(first @ first.T, 2 * torch.eye(8), atol=1e-5, rtol=0)


def test_the_config_names_a_number_out_of_range() -> None:
    with pytest.raises(InputError, match=r"OnPolicyConfig\.discount must be .*; got 1\.5"):
        OnPolicyConfig(discount=1.5)
