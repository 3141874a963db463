"""Experience: what environments did while an actor acted in them, and a collector that makes it.

A collector can be saved and restored in the middle of episodes, for any environment whose episode
depends on its seed and its actions alone: it keeps these, and does the actions again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float32
from torch import Tensor

from eyehand.types import InputError

Act = Callable[[Float32[Tensor, "env observation"]], Tensor]
"""Returns an action for every environment: numbers, of which [-1, 1] spans the environment's range
and what is beyond is clipped, or the number of an action."""


@dataclass(frozen=True)
class Experience:
    """Steps of several environments, time first."""

    observation: Float32[Tensor, "*step observation"]
    action: Tensor
    """Numbers as they were drawn, before they were clipped to [-1, 1] (float32), or the number of
    an action (int64)."""
    reward: Float32[Tensor, " *step"]
    next_observation: Float32[Tensor, "*step observation"]
    """What the action led to, before any reset."""
    terminated: Bool[Tensor, " *step"]
    """Whether the task ended with this step."""
    truncated: Bool[Tensor, " *step"]
    """Whether the episode was cut short after this step."""

    def __len__(self) -> int:
        """Return the number of steps of all environments together."""
        return self.reward.numel()

    def to(self, device: torch.device) -> "Experience":
        """Return it with its tensors on ``device``."""
        return self._with(lambda tensor: tensor.to(device))

    def flat(self) -> "Experience":
        """Return it with time and environment as one axis."""
        return self._with(lambda tensor: tensor.flatten(0, 1))

    def __getitem__(self, which: Tensor) -> "Experience":
        """Return some of the steps along the first axis."""
        return self._with(lambda tensor: tensor[which])

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Experience":
        return Experience(**{one.name: change(getattr(self, one.name)) for one in fields(self)})


class Collector:
    """Environments in which an actor acts, episode after episode.

    Args:
        environments: With a Box of numbers as observation, and a bounded Box or discrete actions.
        seed: Episode k of environment e has the seed ``seed + e + k * len(environments)``.

    Raises:
        InputError: If spaces are others, or two environments differ in them.
    """

    def __init__(self, environments: Sequence[gymnasium.Env[np.ndarray, object]], *, seed: int):
        self.environments, self.seed = list(environments), seed
        self.action_space = self.environments[0].action_space
        self.observation_dim = _dim(self.environments[0])
        for one in self.environments:
            if (one.action_space, _dim(one)) != (self.action_space, self.observation_dim):
                raise InputError("all environments of a collector must have the same spaces.")
        self.episode = [0] * len(self.environments)
        """Number of the episode that each environment is in."""
        self.actions: list[list[np.ndarray]] = [[] for _ in self.environments]
        """Actions since its beginning, as each environment takes them."""
        self.total = [0.0] * len(self.environments)
        """Sum of rewards since its beginning."""
        self.observation = np.stack([self._begin(e) for e in range(len(self.environments))])

    def collect(self, act: Act, steps: int) -> tuple[Experience, list[float]]:
        """Let an actor do ``steps`` steps in every environment.

        Returns:
            What happened, with the shapes [steps, environments, ...]; and the sums of rewards of
            the episodes that ended meanwhile.

        Raises:
            InputError: If a reward is no finite number.
        """
        count, rows, finished = len(self.environments), [], []
        for _ in range(steps):
            before = self.observation.copy()
            with torch.no_grad():
                actions = act(torch.from_numpy(before))
            after, numbers = np.empty_like(before), np.zeros((3, count), np.float32)
            for e, action in enumerate(self.as_environments(actions)):
                found, *rest, _ = self.environments[e].step(action)
                self.actions[e].append(action)
                after[e], numbers[:, e] = _flat(found), rest
                if not np.isfinite(numbers[0, e]):
                    raise InputError(
                        f"an environment's reward was {numbers[0, e]} in step "
                        f"{len(self.actions[e])} of an episode; it must be a finite number."
                    )
                self.total[e] += float(numbers[0, e])
                self.observation[e] = after[e]
                if numbers[1:, e].any():
                    finished.append(self.total[e])
                    self.episode[e] += 1
                    self.observation[e] = self._begin(e)
            rows.append((before, actions.cpu(), numbers, after))
        befores, taken, numbers, afters = zip(*rows, strict=True)
        reward, terminated, truncated = torch.from_numpy(np.stack(numbers)).unbind(dim=1)
        return Experience(
            torch.from_numpy(np.stack(befores)),
            torch.stack(taken),
            reward,
            torch.from_numpy(np.stack(afters)),
            terminated.bool(),
            truncated.bool() & ~terminated.bool(),
        ), finished

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` needs to go on in the middle of the episodes."""
        shape = self.action_space.shape or ()
        actions = np.zeros((len(self.actions), max(map(len, self.actions)), *shape))
        for e, own in enumerate(self.actions):
            if own:
                actions[e, : len(own)] = own
        return {
            "episode": torch.tensor(self.episode),
            "length": torch.tensor([len(own) for own in self.actions]),
            "actions": torch.from_numpy(actions),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Begin the episodes of `state_dict` again, and do their actions again."""
        self.episode = state["episode"].tolist()
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        for e, length in enumerate(state["length"].tolist()):
            self.observation[e] = self._begin(e)
            for action in state["actions"][e, :length].numpy():
                taken: Any = np.int64(action) if discrete else action.astype(np.float32)
                found, reward, *_ = self.environments[e].step(taken)
                self.actions[e].append(taken)
                self.observation[e] = _flat(found)
                self.total[e] += float(np.float32(reward))

    def close(self) -> None:
        """Close the environments."""
        for one in self.environments:
            one.close()

    def _begin(self, e: int) -> Float32[np.ndarray, " observation"]:
        """Begin the present episode of an environment; return its first observation."""
        self.actions[e], self.total[e] = [], 0.0
        seed = self.seed + e + self.episode[e] * len(self.environments)
        return _flat(self.environments[e].reset(seed=seed)[0])

    def as_environments(self, actions: Tensor) -> np.ndarray:
        """Return actions as the environments take them: a Box has its own range."""
        space = self.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return actions.cpu().numpy() + space.start
        assert isinstance(space, gymnasium.spaces.Box)
        share = (actions.cpu().numpy().clip(-1, 1) + 1) / 2
        scaled = space.low.ravel() + share * (space.high - space.low).ravel()
        return scaled.reshape(-1, *space.shape).astype(np.float32)


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


def check_actions(space: gymnasium.Space[object], *, algorithm: str, discrete: bool) -> int:
    """Return how many actions there are, or how many numbers an action has.

    Raises:
        InputError: If they are of the kind that the algorithm cannot learn.
    """
    if isinstance(space, gymnasium.spaces.Discrete) != discrete:
        wanted, got = ("discrete", "numbers") if discrete else ("numbers", "discrete")
        raise InputError(f"{algorithm} needs actions that are {wanted}; these are {got}: {space}.")
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    assert isinstance(space, gymnasium.spaces.Box)
    return int(np.prod(space.shape))


def check_one_process(accelerator: Accelerator) -> None:
    """Refuse several processes: each would act in the same episodes.

    Raises:
        InputError: If there are several.
    """
    if accelerator.num_processes > 1:
        raise InputError(
            f"learning by doing takes one process; this run has {accelerator.num_processes}."
        )


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Check that a network has a hidden layer.

    Raises:
        InputError: If it has none.
    """
    if not widths:
        raise InputError(f"{name} must name the width of one hidden layer or more; got none.")


def mean_or_nothing(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return the mean under a name to log, or nothing where no episode ended.

    Example:
        >>> mean_or_nothing("return", [1.0, 3.0]), mean_or_nothing("return", [])
        ({'return': 2.0}, {})
    """
    return {name: float(np.mean(values))} if values else {}


@dataclass(frozen=True)
class Turn:
    """What the training loop hands over where an update makes its own data: a count for the log."""

    steps: int

    def __len__(self) -> int:
        """Return the number of steps of all environments."""
        return self.steps

    def to(self, device: torch.device) -> "Turn":
        """Return it as it is."""
        return self
