"""What is kept of practice is what was drawn, executed and reached."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.chunk_update import ChunkConfig
from eyehand.rl.experience import Turn
from eyehand.rl.grpo import GRPO
from eyehand.rl.practice import Practice, PractisingActor
from eyehand.types import InputError, Observation


def see(robots: list[int]) -> Observation:
    return Observation(
        image={"corner4": torch.zeros(len(robots), 16, 16, 3, dtype=torch.uint8)},
        state=torch.tensor([[float(one), 0.5] for one in robots]),
        instruction=["go"] * len(robots),
        env_ids=robots,
    )


@pytest.mark.parametrize(
    "head",
    [
        MLPHeadConfig(dims=(8,), dropout=0.5),
        LSTMHeadConfig(dim=8, depth=2, dims=(8,)),
        FlowHeadConfig(steps=2, dim=8, depth=1),
        BinsHeadConfig(bins=8, dim=8, depth=1, heads=2, head_dim=4),
    ],
    ids=lambda head: head.name,
)
def test_before_anything_is_learnt_nothing_has_moved(
    head: HeadConfig, make_policy: Callable[..., Any], practise_once: Callable[..., Any]
) -> None:
    """Also with dropout, and though it was drawn in inference mode."""
    update = GRPO(make_policy(head), ChunkConfig(randomness=0.3), practise_once)
    update.prepare(Accelerator(cpu=True), Turn(1))
    practice = practise_once(update.policy, 0)
    assert len(practice) == 128
    learnt = update.learnt(practice)
    assert learnt.requires_grad
    for policy in (update.policy, update.first):
        torch.testing.assert_close(learnt, update.known(policy, practice, rows=50))
    back = Practice.from_state(practice.state_dict())
    assert torch.equal(back.drawn.sample, practice.drawn.sample)


def test_robots_are_kept_apart_and_padding_is_nobody(policy: Any) -> None:
    actor = PractisingActor(policy, randomness=0.3, seed=0)
    for robots in ([0, 1, -1], [1, 0], [1]):
        actor.reset([])
        actor.act(see(robots))
    practice = actor.practice([True, False], [3, 6], [4, 4], terminated=[True, False], executed=2)
    assert practice.episode.tolist() == [0, 0, 1, 1, 1]
    assert practice.last.tolist() == [False, True, False, False, True]
    assert practice.executed.tolist() == [
        [True, True], [True, False], [True, True], [True, True], [True, True]
    ]  # fmt: skip
    assert practice.drawn.feature[:, 0, 0].tolist() == [0, 0, 1, 1, 1]
    assert practice.success.tolist() == [True, False]
    half = practice.rows(torch.tensor([1, 4]))
    assert half.episode.tolist() == [0, 1]
    assert half.log_prob(lambda drawn, executed, _: executed.sum(dim=1).float(), 0.3).tolist() == [
        1, 2
    ]  # fmt: skip


def test_what_is_drawn_does_not_depend_on_who_is_beside(policy: Any) -> None:
    alone, together = (PractisingActor(policy, randomness=0.3, seed=7) for _ in range(2))
    torch.testing.assert_close(alone.act(see([1])), together.act(see([0, 1]))[1:])
    other = PractisingActor(policy, randomness=0.3, seed=8)
    assert not torch.equal(other.act(see([1])), alone.act(see([1])))


def test_a_head_without_probabilities_cannot_practise(make_policy: Callable[..., Any]) -> None:
    policy = make_policy(DiffusionHeadConfig(dim=8, depth=1))
    with pytest.raises(InputError, match="'diffusion' cannot say how probable an action is"):
        PractisingActor(policy, randomness=0.3, seed=0).act(see([0]))
