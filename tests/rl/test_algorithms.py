"""Every deep algorithm keeps the contract of updates and solves a task that it must solve."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from accelerate import Accelerator

from eyehand.rl.a2c import A2C, A2CConfig
from eyehand.rl.ddpg import DDPG, DDPGConfig
from eyehand.rl.dqn import DQN, DQNConfig
from eyehand.rl.experience import Turn
from eyehand.rl.ppo import PPO, PPOConfig
from eyehand.rl.reinforce import Reinforce, ReinforceConfig
from eyehand.rl.sac import SAC, SACConfig
from eyehand.rl.td3 import TD3, TD3Config
from eyehand.training.distributed import seed_step
from eyehand.training.update import Update, check_update
from eyehand.types import InputError

SMALL: dict[str, Any] = {"dims": (16,), "learning_rate": 1e-2}
REPLAYED: dict[str, Any] = {**SMALL, "first": 32, "minibatch": 32, "buffer": 500, "follow": 0.05}


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


Make = Callable[[bool], Update]
ALGORITHMS: dict[str, tuple[type[Any], Any, tuple[bool, ...]]] = {
    "reinforce": (
        Reinforce,
        ReinforceConfig(dims=(16,), learning_rate=3e-2, steps=64, discount=0.0),
        (True, False),
    ),
    "a2c": (
        A2C, A2CConfig(dims=(16,), learning_rate=2e-2, steps=32, discount=0.0), (True, False)
    ),
    "ppo": (
        PPO,
        PPOConfig(
            **SMALL, steps=64, epochs=4, minibatch=64, discount=0.0,
            normalize_observations=True, scale_rewards=True,
        ),
        (True, False),
    ),
    "dqn": (
        DQN, DQNConfig(**REPLAYED, discount=0.0, explore=200, copy_every=20, dueling=True), (True,)
    ),
    "ddpg": (DDPG, DDPGConfig(**REPLAYED, discount=0.0, noise=0.1), (False,)),
    "td3": (TD3, TD3Config(**REPLAYED, discount=0.0, noise=0.1), (False,)),
    "sac": (SAC, SACConfig(**REPLAYED, discount=0.0, temperature=0.1), (False,)),
}  # fmt: skip
"""Class, a small config without a future, and the kinds of actions (discrete?) that it learns."""
STEPS = {"reinforce": 100, "a2c": 120, "ppo": 40}
"""Steps of learning of those that draw from a distribution; the others do 400."""
CASES = [(name, kind) for name, (_, _, kinds) in ALGORITHMS.items() for kind in kinds]


def make(name: str, discrete: bool) -> Update:
    torch.manual_seed(0)
    algorithm, config, _ = ALGORITHMS[name]
    made: Update = algorithm([Copy(discrete=discrete) for _ in range(4)], config, seed=1)
    return made


def turns(start: int) -> Iterator[Turn]:
    while True:
        yield Turn(4)


@pytest.mark.parametrize(("name", "discrete"), CASES)
def test_the_contract_of_updates_is_kept(name: str, discrete: bool) -> None:
    steps = 30 if name in ("dqn", "ddpg", "td3", "sac") else 4
    check_update(partial(make, name, discrete), turns, steps=steps)


@pytest.mark.parametrize(("name", "discrete"), CASES)
def test_it_learns_what_it_must(name: str, discrete: bool) -> None:
    """Chance gives about 4 of 8; a Gaussian keeps some of its noise."""
    update = make(name, discrete)
    update.prepare(Accelerator(cpu=True), Turn(4))
    found: list[float] = []
    for step in range(STEPS.get(name, 400)):
        seed_step(0, step, 0)
        losses = update.step(Turn(4))
        found += [float(losses["return"])] if "return" in losses else []
    assert np.mean(found[-8:]) > (6.8 if discrete or name not in STEPS else 5.6)
    assert np.mean(found[:3]) < 5.8


@pytest.mark.parametrize("name", ["dqn", "ddpg", "td3", "sac"])
def test_the_wrong_kind_of_action_is_refused_in_a_sentence(name: str) -> None:
    algorithm, config, kinds = ALGORITHMS[name]
    with pytest.raises(InputError, match=f"{algorithm.__name__} learns .* actions"):
        algorithm([Copy(discrete=not kinds[0])], config)


def test_what_never_ends_is_not_for_reinforce() -> None:
    update = Reinforce([Copy(discrete=True, steps=10_000)], ReinforceConfig(**SMALL, steps=16))
    update.prepare(Accelerator(cpu=True), Turn(4))
    with pytest.raises(InputError, match=r"no episode ended within ReinforceConfig\.steps=16"):
        update.step(Turn(4))
