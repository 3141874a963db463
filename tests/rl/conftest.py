"""Small worlds with their exact answers, and tasks that need no simulator."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from eyehand.envs.grid_world import GridWorld
from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.functional.bellman import action_values
from eyehand.functional.decision_process import DecisionProcess
from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.policies.normalization import blank_statistics
from eyehand.rl.experience import Turn
from eyehand.rl.policy_iteration import policy_iteration
from eyehand.rl.practice import Practice, PractisingActor
from eyehand.training.distributed import seed_step
from eyehand.training.update import check_update
from eyehand.types import Observation

STARTS, EPISODES = 16, 8


class StatePolicy(FramePolicy):
    """Its features are the states."""

    eye_name, looks = "head", "saliency"

    def __init__(self, head: HeadConfig) -> None:
        config = FramePolicyConfig(
            image_size=16,
            state_dim=2,
            action_dim=1,
            gripper=0,
            horizon=2,
            head=head,
            history=2 if head.needs_history else 1,
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


def practise_once(policy: StatePolicy, number: int, randomness: float = 0.3) -> Practice:
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
    return actor.practice(near, [2] * len(near), groups, terminated=near, executed=2)


def practise_episodes(policy: StatePolicy) -> Practice:
    """Four episodes of 3, 1, 2 and 2 chunks; those of a start do not stand together."""
    actor = PractisingActor(policy, randomness=0.3, seed=0)
    for going in ([0, 1, 2, 3], [0, 2, 3], [0]):
        with torch.inference_mode():
            actor.act(
                Observation(
                    image={"corner4": torch.zeros(len(going), 16, 16, 3, dtype=torch.uint8)},
                    state=torch.tensor([[0.1 * one, 0.3] for one in going]),
                    instruction=["copy"] * len(going),
                    env_ids=going,
                )
            )
    won = [True, False, False, True]
    return actor.practice(won, [6, 2, 4, 4], [1, 0, 1, 0], terminated=won, executed=2)


@pytest.fixture
def several_chunks() -> Callable[..., Practice]:
    """From a policy to episodes of several chunks."""
    return practise_episodes


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


class Copy(gymnasium.Env[np.ndarray, Any]):
    """Be told a number, say it: the reward is largest where the action is the observation."""

    def __init__(self, *, discrete: bool, steps: int = 8) -> None:
        self.discrete, self.steps, self.done = discrete, steps, 0
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = (
            gymnasium.spaces.Discrete(2)
            if discrete
            else gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.done = 0
        return self._told(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        wanted = self.told[0]
        if self.discrete:
            reward = float((wanted > 0) == bool(action))
        else:
            reward = 1 - abs(float(np.asarray(action).ravel()[0]) - 0.5 * wanted)
        self.done += 1
        return self._told(), reward, False, self.done == self.steps, {}

    def _told(self) -> np.ndarray:
        self.told = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.told


@pytest.fixture(name="make_update")
def update_maker() -> Callable[..., Any]:
    """From an algorithm, its config and the kind of actions to an update that copies numbers."""

    def make(algorithm: Any, config: Any, *, discrete: bool) -> Any:
        torch.manual_seed(0)
        worlds = GymnasiumEnvironments([Copy(discrete=discrete) for _ in range(4)])
        return algorithm(worlds, config, seed=1)

    return make


@pytest.fixture
def check_contract(make_update: Callable[..., Any]) -> Callable[..., None]:
    """Check that an algorithm keeps the contract of updates."""

    def check(algorithm: Any, config: Any, *, discrete: bool, steps: int) -> None:
        check_update(
            lambda: make_update(algorithm, config, discrete=discrete),
            lambda start: repeat(Turn(4)),
            steps=steps,
        )

    return check


@pytest.fixture
def learn(make_update: Callable[..., Any]) -> Callable[..., tuple[float, float]]:
    """Let an algorithm learn to copy; return the mean returns of its first and last episodes.

    Chance gives about 4 of 8.
    """

    def learn(algorithm: Any, config: Any, *, discrete: bool, steps: int) -> tuple[float, float]:
        update = make_update(algorithm, config, discrete=discrete)
        update.prepare(Accelerator(), Turn(4))
        found: list[float] = []
        for step in range(steps):
            seed_step(0, step, 0)
            losses = update.step(Turn(4))
            found += [float(losses["return"])] if "return" in losses else []
        return float(np.mean(found[:3])), float(np.mean(found[-8:]))

    return learn


@pytest.fixture(scope="session")
def small() -> GridWorld:
    """Six cells without an end: one is forbidden, one pays."""
    return GridWorld(rows=2, columns=3, target=(1, 1), forbidden=((0, 1),))


@pytest.fixture(scope="session")
def slippery() -> GridWorld:
    """The same, where one action of five is replaced by chance."""
    return GridWorld(rows=2, columns=3, target=(1, 1), forbidden=((0, 1),), slip=0.2)


@pytest.fixture(scope="session")
def ending() -> GridWorld:
    """Twelve cells, a start, and a target that ends the episode."""
    return GridWorld(
        rows=3, columns=4, target=(2, 2), forbidden=((1, 2), (2, 1)), start=(0, 0),
        target_reward=0.0, forbidden_reward=-10.0, boundary_reward=-10.0, other_reward=-1.0,
        target_ends=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def best() -> Callable[[DecisionProcess], np.ndarray]:
    """How to find the optimal values of the actions of a known process."""

    def find(process: DecisionProcess) -> np.ndarray:
        return action_values(process, policy_iteration(process).values)

    return find


@pytest.fixture(scope="session")
def random_process() -> Callable[..., DecisionProcess]:
    """How to draw a process."""

    def draw(
        seed: int, *, states: int = 6, actions: int = 3, discount: float = 0.9
    ) -> DecisionProcess:
        random = np.random.default_rng(seed)
        transition = random.dirichlet(np.full(states, 0.3), size=(states, actions))
        return DecisionProcess(transition, random.normal(size=(states, actions)), discount)

    return draw
