"""Gymnasium environments side by side, for algorithms that learn by doing.

They can be saved and restored in the middle of episodes, for any environment whose episode depends
on its seed and its actions alone: these are kept, and the actions done again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from eyehand.types import EnvironmentStep, InputError


class GymnasiumEnvironments:
    """Environments that are stepped one after the other.

    Args:
        environments: With a Box of numbers as observation, and a bounded Box or discrete actions.

    Raises:
        InputError: If spaces are others, or two environments differ in them.
    """

    def __init__(self, environments: Sequence[gymnasium.Env[np.ndarray, Any]]) -> None:
        self.environments = list(environments)
        self.action_space: Any = self.environments[0].action_space
        self.observation_dim = _dim(self.environments[0])
        for one in self.environments:
            if (one.action_space, _dim(one)) != (self.action_space, self.observation_dim):
                raise InputError("environments side by side must have the same spaces.")
        self._seed = [0] * len(self)
        self._info: list[dict[str, Any]] = [{} for _ in self.environments]
        self._actions: list[list[np.ndarray]] = [[] for _ in self.environments]
        """Actions since the beginning of each episode, as the environments take them."""

    @classmethod
    def make(cls, name: str, count: int) -> "GymnasiumEnvironments":
        """Return environments by their id.

        Raises:
            InputError: If there is none of this name, a package of it is missing, or its spaces do
                not fit.
        """
        try:
            return cls([gymnasium.make(name) for _ in range(count)])
        except (gymnasium.error.Error, ImportError) as error:
            raise InputError(f"the environment {name!r} cannot be made: {error}") from error

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.environments)

    def begin(self, which: int, seed: int) -> Float32[np.ndarray, " observation"]:
        """Begin an episode in one of them; return what is seen first."""
        self._seed[which], self._actions[which] = seed, []
        found, self._info[which] = self.environments[which].reset(seed=seed)
        return _flat(found)

    def step(self, actions: Tensor) -> EnvironmentStep:
        """Act in all of them; see `eyehand.types.Environments.step`."""
        seen = np.empty((len(self), self.observation_dim), np.float32)
        reward = np.empty(len(self), np.float32)
        terminated, truncated = np.empty((2, len(self)), bool)
        for which, action in enumerate(self.scaled(actions)):
            found, *numbers, self._info[which] = self.environments[which].step(action)
            reward[which], terminated[which], truncated[which] = numbers
            seen[which] = _flat(found)
            self._actions[which].append(action)
        return seen, reward, terminated, truncated

    def scaled(self, actions: Tensor) -> np.ndarray:
        """Return actions as the environments take them: a Box has its own range."""
        space, given = self.action_space, actions.cpu().numpy()
        if isinstance(space, gymnasium.spaces.Discrete):
            return np.asarray(given + space.start)
        share = (given.clip(-1, 1) + 1) / 2
        scaled = space.low.ravel() + share * (space.high - space.low).ravel()
        return np.asarray(scaled.reshape(-1, *space.shape), np.float32)

    def outcome(self, which: int) -> Mapping[str, float]:
        """Return ``x_position``, m, where the environment says how far its robot came."""
        info = self._info[which]
        return {"x_position": float(info["x_position"])} if "x_position" in info else {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the seeds of the episodes and their actions so far."""
        shape = self.action_space.shape or ()
        actions = np.zeros((len(self), max(map(len, self._actions)), *shape))
        for which, own in enumerate(self._actions):
            if own:
                actions[which, : len(own)] = own
        return {
            "seed": torch.tensor(self._seed),
            "length": torch.tensor([len(own) for own in self._actions]),
            "actions": torch.from_numpy(actions),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> Float32[np.ndarray, "env observation"]:
        """Begin the episodes of `state_dict` again, and do their actions again."""
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        seen = np.empty((len(self), self.observation_dim), np.float32)
        episodes = zip(state["seed"].tolist(), state["length"].tolist(), strict=True)
        for which, (seed, length) in enumerate(episodes):
            seen[which] = self.begin(which, seed)
            for action in state["actions"][which, :length].numpy():
                taken: Any = np.int64(action) if discrete else action.astype(np.float32)
                found, *_, self._info[which] = self.environments[which].step(taken)
                seen[which] = _flat(found)
                self._actions[which].append(taken)
        return seen

    def close(self) -> None:
        """Close the environments."""
        for one in self.environments:
            one.close()


def _flat(observation: object) -> Float32[np.ndarray, " observation"]:
    return np.asarray(observation, np.float32).ravel()


def _dim(environment: gymnasium.Env[np.ndarray, object]) -> int:
    """Return the numbers of an observation, after a look at both spaces."""
    space, actions = environment.observation_space, environment.action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(f"observations must be a Box of numbers. Got {space}.")
    bounded = isinstance(actions, gymnasium.spaces.Box) and actions.is_bounded()
    if not bounded and not isinstance(actions, gymnasium.spaces.Discrete):
        raise InputError(f"actions must be a bounded Box or discrete. Got {actions}.")
    return int(np.prod(space.shape))
