"""Episodes are compared with those from their start; starts that tell nothing are left out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from eyehand.functional.policy_loss import group_advantage
from eyehand.rl.chunk_update import ChunkConfig
from eyehand.rl.experience import Turn
from eyehand.rl.grpo import GRPO
from eyehand.types import InputError

Make = Callable[..., Any]


def test_starts_that_tell_nothing_are_left_out(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    update = GRPO(policy, ChunkConfig(randomness=0.3), practise_once)
    practice = practise_once(policy, 0)
    update.prepare(Accelerator(cpu=True), practice)
    advantage, used, _ = update.judge(practice)
    reward = practice.success.float().view(16, 8)
    torch.testing.assert_close(advantage, group_advantage(reward).flatten())
    mixed = (reward.mean(dim=1) > 0) & (reward.mean(dim=1) < 1)
    assert torch.equal(used, mixed.repeat_interleave(8))
    practice.success[:] = True
    update.practise = lambda *_: practice
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    found = update.step(Turn(1))
    assert found["used"] == 0
    assert all(torch.equal(weight, before[name]) for name, weight in policy.state_dict().items())


def test_every_chunk_has_the_advantage_of_its_episode(
    make_policy: Make, practise_once: Make, several_chunks: Make
) -> None:
    policy = make_policy()
    practice = several_chunks(policy)
    assert practice.episode.tolist() == [0, 0, 0, 1, 2, 2, 3, 3]
    advantage, used, _ = GRPO(policy, ChunkConfig(), practise_once).judge(practice)
    assert used.all()
    better, worse = group_advantage(torch.tensor([[1.0, 0.0]]))[0].tolist()
    wanted = [better] * 3 + [worse] + [worse] * 2 + [better] * 2
    torch.testing.assert_close(advantage, torch.tensor(wanted))
    practice.success[:] = torch.tensor([True, False, True, True])
    assert GRPO(policy, ChunkConfig(), practise_once).judge(practice)[1].tolist() == [
        False, False, False, True, False, False, True, True,
    ]  # fmt: skip


def test_groups_of_different_sizes_are_refused(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    practice = practise_once(policy, 0)
    practice.group[0] = 1
    with pytest.raises(InputError, match=r"as many episodes from every start; got \[7, 9"):
        GRPO(policy, ChunkConfig(), practise_once).judge(practice)
