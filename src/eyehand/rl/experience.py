"""Experience: what environments did while an actor acted in them, and a collector that makes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float32
from torch import Tensor

from eyehand.types import Environments, InputError

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
        environments: Where to act.
        seed: Episode k of environment e has the seed ``seed + e + k * len(environments)``.
    """

    def __init__(self, environments: Environments, *, seed: int) -> None:
        self.environments, self.seed = environments, seed
        self.episode = [0] * len(environments)
        """Number of the episode that each environment is in."""
        self.total = [0.0] * len(environments)
        """Sum of its rewards so far."""
        self.length = [0] * len(environments)
        """Steps of it so far."""
        self.observation = np.stack([self._begin(e) for e in range(len(environments))])

    def collect(self, act: Act, steps: int) -> tuple[Experience, list[dict[str, float]]]:
        """Let an actor do ``steps`` steps in every environment.

        Returns:
            What happened, with the shapes [steps, environments, ...]; and of every episode that
            ended meanwhile its ``return``, the sum of rewards, and what else it came to.

        Raises:
            InputError: If a reward is no finite number.
        """
        rows, finished = [], []
        for _ in range(steps):
            before = self.observation
            with torch.no_grad():
                actions = act(torch.from_numpy(before)).cpu()
            after, reward, terminated, truncated = self.environments.step(actions)
            rows.append((before, actions, reward, after, terminated, truncated & ~terminated))
            self.observation = after.copy()
            for e, ended in enumerate(terminated | truncated):
                self.length[e] += 1
                check_finite(after[e], reward[e], step=self.length[e])
                self.total[e] += float(reward[e])
                if ended:
                    finished.append({"return": self.total[e], **self.environments.outcome(e)})
                    self.episode[e] += 1
                    self.observation[e] = self._begin(e)
        columns = [[torch.as_tensor(one) for one in column] for column in zip(*rows, strict=True)]
        return Experience(*map(torch.stack, columns)), finished

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` needs to go on in the middle of the episodes."""
        own = {f"environments/{name}": t for name, t in self.environments.state_dict().items()}
        return own | {
            "episode": torch.tensor(self.episode),
            "total": torch.tensor(self.total, dtype=torch.float64),
            "length": torch.tensor(self.length),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.episode, self.length = state["episode"].tolist(), state["length"].tolist()
        self.total = state["total"].tolist()
        title = "environments/"
        self.observation = self.environments.load_state_dict(under(state, title))

    def close(self) -> None:
        """Close the environments."""
        self.environments.close()

    def _begin(self, e: int) -> Float32[np.ndarray, " observation"]:
        """Begin the present episode of an environment; return its first observation."""
        self.total[e], self.length[e] = 0.0, 0
        return self.environments.begin(e, self.seed + e + self.episode[e] * len(self.environments))


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


def check_finite(
    observation: Float32[np.ndarray, " observation"], reward: np.floating[Any], *, step: int
) -> None:
    """Refuse what an environment said if it is no finite number.

    Args:
        observation: What was seen after a step.
        reward: Of the step.
        step: Its number in the episode, for the sentence.

    Raises:
        InputError: If one is not.
    """
    if not np.isfinite(reward):
        raise InputError(
            f"an environment's reward was {reward} in step {step} of an episode; it must be a "
            "finite number."
        )
    if not np.isfinite(observation).all():
        raise InputError(
            f"an environment's observation was not finite after step {step} of an episode."
        )


def means_of(episodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of everything that episodes came to; nothing where none ended.

    Example:
        >>> means_of([{"return": 1.0}, {"return": 3.0}]), means_of([])
        ({'return': 2.0}, {})
    """
    names = episodes[0] if episodes else ()
    return {name: float(np.mean([one[name] for one in episodes])) for name in names}


def measure(act: Act, environments: Environments, seeds: Sequence[int]) -> list[dict[str, float]]:
    """Let an actor do one episode from every seed; return what each came to, as `Collector` does.

    Args:
        act: Returns the actions that the actor takes for the best.
        environments: Where to act.
        seeds: Of the episodes.
    """
    came_to: dict[int, dict[str, float]] = {}
    count, left = len(environments), list(range(len(seeds)))[::-1]
    number = [left.pop() if left else -1 for _ in range(count)]
    total, length = [0.0] * count, [0] * count
    seen = np.stack([environments.begin(e, seeds[max(number[e], 0)]) for e in range(count)])
    while len(came_to) < len(seeds):
        with torch.no_grad():
            actions = act(torch.from_numpy(seen)).cpu()
        seen, reward, terminated, truncated = environments.step(actions)
        for e in range(count):
            length[e] += 1
            check_finite(seen[e], reward[e], step=length[e])
            total[e] += float(reward[e])
            if not (terminated[e] or truncated[e]):
                continue
            if number[e] >= 0:
                came_to[number[e]] = {"return": total[e], **environments.outcome(e)}
            number[e], total[e], length[e] = left.pop() if left else -1, 0.0, 0
            seen[e] = environments.begin(e, seeds[max(number[e], 0)])
    return [came_to[one] for one in range(len(seeds))]


def under(state: Mapping[str, Tensor], title: str) -> dict[str, Tensor]:
    """Return the entries of a state whose names begin with a title, without it.

    Example:
        >>> under({"buffer/count": torch.tensor(1), "gradients": torch.tensor(2)}, "buffer/")
        {'count': tensor(1)}
    """
    return {n.removeprefix(title): t for n, t in state.items() if n.startswith(title)}


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
