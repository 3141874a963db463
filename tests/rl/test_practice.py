"""What is kept of practice is what was drawn, executed and reached."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.practice import PractisingActor
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
        MLPHeadConfig(dims=(8,)),
        FlowHeadConfig(steps=2, dim=8, depth=1),
        BinsHeadConfig(bins=8, dim=8, depth=1, heads=2, head_dim=4),
    ],
    ids=lambda head: head.name,
)
def test_the_kept_probability_is_that_of_the_policy(
    head: HeadConfig, make_policy: Callable[..., Any], practise_once: Callable[..., Any]
) -> None:
    policy = make_policy(head)
    practice = practise_once(policy, 0)
    assert len(practice) == 128
    found = policy.log_prob(practice.drawn, 0.3)
    torch.testing.assert_close(found, practice.drawn.log_prob, rtol=1e-4, atol=1e-4)
    assert found.requires_grad  # it was drawn in inference mode, and can still be learnt from


def test_robots_are_kept_apart_and_padding_is_nobody(policy: Any) -> None:
    actor = PractisingActor(policy, randomness=0.3, seed=0)
    for robots in ([0, 1, -1], [1, 0], [1]):
        actor.reset([])
        actor.act(see(robots))
    practice = actor.practice([True, False], [3, 6], [4, 4], executed=2)
    assert practice.episode.tolist() == [0, 0, 1, 1, 1]
    assert practice.last.tolist() == [False, True, False, False, True]
    assert practice.executed.tolist() == [
        [True, True], [True, False], [True, True], [True, True], [True, True]
    ]  # fmt: skip
    assert practice.drawn.feature[:, 0, 0].tolist() == [0, 0, 1, 1, 1]
    assert practice.success.tolist() == [True, False]
    half = practice.rows(torch.tensor([1, 4]))
    assert half.episode.tolist() == [0, 1]
    assert half.chunk_log_prob(torch.ones(2, 2)).tolist() == [1, 2]


def test_what_is_drawn_does_not_depend_on_who_is_beside(policy: Any) -> None:
    alone, together = (PractisingActor(policy, randomness=0.3, seed=7) for _ in range(2))
    torch.testing.assert_close(alone.act(see([1])), together.act(see([0, 1]))[1:])
    other = PractisingActor(policy, randomness=0.3, seed=8)
    assert not torch.equal(other.act(see([1])), alone.act(see([1])))


def test_a_head_without_probabilities_cannot_practise(make_policy: Callable[..., Any]) -> None:
    policy = make_policy(DiffusionHeadConfig(dim=8, depth=1))
    with pytest.raises(InputError, match="'diffusion' cannot say how probable an action is"):
        PractisingActor(policy, randomness=0.3, seed=0)
