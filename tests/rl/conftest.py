"""A policy whose feature is the robot's state, and a task that needs no simulator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.policies.normalization import blank_statistics
from eyehand.rl.practice import Practice, PractisingActor
from eyehand.types import Observation

STARTS, EPISODES = 16, 8


class StatePolicy(FramePolicy):
    """Its features are the states."""

    def __init__(self, head: HeadConfig) -> None:
        config = FramePolicyConfig(
            image_size=16, state_dim=2, action_dim=1, gripper=0, horizon=2, head=head
        )
        super().__init__(config, statistics=blank_statistics(state_dim=2, action_dim=1))
        self.head = self.build_head(2)

    def encode(
        self, image: Mapping[str, Tensor], state: Tensor, sentences: Sequence[str], *, apart: bool
    ) -> tuple[Tensor, Any]:
        return state, None

    def landmark_distance(self, found: Any, places: Tensor) -> Tensor:
        raise NotImplementedError

    def look(self, observation: Observation, *, word: int | None = None) -> Any:
        raise NotImplementedError

    def stages(self) -> Any:
        raise NotImplementedError


def make_policy(head: HeadConfig | None = None) -> StatePolicy:
    torch.manual_seed(0)
    return StatePolicy(head or MLPHeadConfig(dims=(16,)))


def practise_once(policy: StatePolicy, number: int, *, randomness: float = 0.3) -> Practice:
    """Success is a first action near half of the state's first number: 16 starts, 8 tries each."""
    state = 2 * torch.rand(STARTS, 2, generator=torch.Generator().manual_seed(number)) - 1
    state = state.repeat_interleave(EPISODES, dim=0)
    actor = PractisingActor(policy, randomness=randomness, seed=number)
    with torch.inference_mode():  # as a rollout does
        action = actor.act(
            Observation(
                image={"corner4": torch.zeros(len(state), 16, 16, 3, dtype=torch.uint8)},
                state=state,
                instruction=["copy"] * len(state),
                env_ids=range(len(state)),
            )
        )
    near = ((action[:, 0, 0] - 0.5 * state[:, 0]).abs() < 0.2).tolist()
    groups = [row // EPISODES for row in range(len(state))]
    return actor.practice(near, [2] * len(near), groups, executed=2)


@pytest.fixture(name="make_policy")
def policy_maker() -> Callable[..., StatePolicy]:
    """From a head to a policy, always with the same weights."""
    return make_policy


@pytest.fixture(name="practise_once")
def practice_maker() -> Callable[..., Practice]:
    """From a policy, a number of the round and its randomness to practice."""
    return practise_once


@pytest.fixture
def policy() -> StatePolicy:
    return make_policy()
