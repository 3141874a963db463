"""What is shared by algorithms that learn from what is kept."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from eyehand.rl.dqn import DQN, DQNConfig
from eyehand.rl.experience import Turn
from eyehand.rl.off_policy import Critic, Deterministic, soft_update, uniform_actions


def test_nothing_is_learnt_before_enough_is_kept(make_update: Callable[..., Any]) -> None:
    config = DQNConfig(dims=(8,), first=12, gradients=2, minibatch=4)
    update = make_update(DQN, config, discrete=True)
    update.prepare(Accelerator(), Turn(4))
    for kept, gradients in ((4, 0), (8, 0), (12, 0), (16, 2)):
        found = update.step(Turn(4))
        assert (len(update.buffer), update.gradients) == (kept, gradients)
        assert ("value" in found) == (gradients > 0)


def test_a_target_goes_a_share_of_the_way() -> None:
    target, learnt = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = 0.9 * target.weight + 0.1 * learnt.weight
    soft_update(target, learnt, share=0.1)
    torch.testing.assert_close(target.weight, wanted)
    soft_update(target, learnt, share=1.0)
    assert torch.equal(target.weight, learnt.weight)


def test_critics_judge_for_themselves() -> None:
    torch.manual_seed(0)
    critic = Critic(3, 2, (8,), networks=2)
    seen, action = torch.randn(5, 3), uniform_actions(5, 2)
    first, second = critic(seen, action)
    assert first.shape == (5,)
    assert not torch.equal(first, second)
    both = torch.cat([seen, action], dim=-1)
    torch.testing.assert_close(first, critic.networks[0](both)[:, 0])


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_actions_stay_in_their_range(scale: float) -> None:
    policy = Deterministic(3, 2, (8,))
    assert policy(scale * torch.randn(50, 3)).abs().max() <= 1
    drawn = uniform_actions(1000, 2)
    assert drawn.abs().max() <= 1
    assert drawn.mean().abs() < 0.1
