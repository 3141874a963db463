"""What DQN, DDPG, TD3 and SAC share: act a little, keep everything, learn from what is kept."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Float32
from torch import Tensor, nn

from eyehand.nn.perceptron import Perceptron
from eyehand.rl.experience import (
    Collector,
    Experience,
    check_one_process,
    check_widths,
    means_of,
    under,
)
from eyehand.rl.replay_buffer import ReplayBuffer
from eyehand.training.config import TrainBatch
from eyehand.training.update import Update
from eyehand.types import Environments, InputError, check_ranges


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig:
    """How experience is made, kept and used.

    Raises:
        InputError: If a number is out of its range.
    """

    steps: int = 1
    """Steps of every environment between two times of learning."""
    gradients: int = 1
    """Minibatches that are learnt from each time."""
    first: int = 1000
    """Steps of random actions before anything is learnt."""
    buffer: int = 100_000
    """Most steps that are kept."""
    minibatch: int = 256
    """Steps in a gradient."""
    discount: float = 0.99
    """Weight of the future per step."""
    follow: float = 0.005
    """Share of the way that target networks go towards the learnt ones after a gradient."""
    dims: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    learning_rate: float = 3e-4
    """Peak rate of Adam, for all networks."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_widths(f"{type(self).__name__}.dims", self.dims)
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            steps=(1, 10**6),
            gradients=(1, 10**6),
            first=(0, 10**9),
            buffer=(1, 10**9),
            minibatch=(1, 10**7),
            discount=(0, 1),
            follow=(0, 1),
            dims=(1, 10**4),
            learning_rate=(0, 1),
        )


class OffPolicy(Update):
    """Act, keep, `learn`: one step of the training loop.

    Args:
        environments: Where to act.
        config: How experience is made, kept and used.
        seed: Of the environments' episodes.
    """

    published = "policy/weights/"
    targets: Mapping[str, nn.Module]
    """Networks that follow learnt ones slowly, by name."""

    def __init__(
        self,
        environments: Environments,
        config: OffPolicyConfig,
        *,
        seed: int = 0,
    ) -> None:
        self.config = config
        if config.buffer < config.steps * len(environments):
            raise InputError(
                f"{type(config).__name__}.buffer={config.buffer} must hold the "
                f"{config.steps * len(environments)} steps of one turn."
            )
        self.collector = Collector(environments, seed=seed)
        self.buffer = ReplayBuffer(config.buffer)
        self.gradients = 0
        """Minibatches learnt from so far."""
        self.device = torch.device("cpu")

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move all networks to the device; what is kept stays where it is."""
        check_one_process(accelerator)
        super().prepare(accelerator, batch)
        self.device = accelerator.device
        for target in self.targets.values():
            target.to(self.device)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Act for some steps, keep them, then learn from what is kept."""
        config = self.config
        random = self.buffer.count < config.first
        act = self.act_randomly if random else self.act
        experience, finished = self.collector.collect(
            lambda seen: act(seen.to(self.device)), config.steps
        )
        self.buffer.add(experience.flat())
        found: dict[str, list[float]] = {"loss": []}
        if not random:
            for _ in range(config.gradients):
                for name, value in self._learn_once().items():
                    found.setdefault(name, []).append(float(value))
                self.gradients += 1
        means = {name: float(np.mean(values or [0.0])) for name, values in found.items()}
        return {**means, **means_of(finished)}

    def _learn_once(self) -> Mapping[str, Tensor | float]:
        return self.learn(self.buffer.draw(self.config.minibatch).to(self.device))

    @abstractmethod
    def act(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return actions to explore with."""

    @abstractmethod
    def best(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the actions that the policy takes for the best."""

    @abstractmethod
    def act_randomly(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return actions, each with the same probability."""

    @abstractmethod
    def learn(self, part: Experience) -> Mapping[str, Tensor | float]:
        """Learn from steps that any policy did; return what to log."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        own = {"gradients": torch.tensor(self.gradients)}
        parts: dict[str, Any] = {"collector": self.collector, "buffer": self.buffer}
        for title, part in (parts | dict(self.targets)).items():
            own |= {f"{title}/{name}": t.clone() for name, t in part.state_dict().items()}
        return super().state_dict() | own

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.gradients = int(state["gradients"])
        parts: dict[str, Any] = {"collector": self.collector, "buffer": self.buffer}
        for title, part in (parts | dict(self.targets)).items():
            part.load_state_dict(under(state, f"{title}/"))


class Critic(nn.Module):
    """Values of actions that are numbers, by several networks that are learnt side by side.

    Args:
        observation_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        dims: Widths of the hidden layers.
        networks: How many.
    """

    def __init__(
        self, observation_dim: int, action_dim: int, dims: Sequence[int], *, networks: int
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            nn.Sequential(Perceptron(observation_dim + action_dim, dims), nn.Linear(dims[-1], 1))
            for _ in range(networks)
        )

    def forward(
        self,
        observation: Float32[Tensor, "step observation"],
        action: Float[Tensor, "step action"],
    ) -> Float[Tensor, "network step"]:
        """Return every network's value of an action."""
        both = torch.cat([observation, action], dim=-1)
        return torch.stack([network(both)[:, 0] for network in self.networks])


class Deterministic(nn.Module):
    """Observation in, one action in [-1, 1] out.

    Args:
        observation_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        dims: Widths of the hidden layers.
    """

    def __init__(self, observation_dim: int, action_dim: int, dims: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Perceptron(observation_dim, dims), nn.Linear(dims[-1], action_dim), nn.Tanh()
        )

    def forward(
        self, observation: Float32[Tensor, "step observation"]
    ) -> Float[Tensor, "step action"]:
        """Return the action."""
        action: Float[Tensor, "step action"] = self.layers(observation)
        return action


def uniform_actions(count: int, dim: int) -> Float[Tensor, "env action"]:
    """Return actions of numbers, uniform in [-1, 1]."""
    return 2 * torch.rand(count, dim) - 1


@torch.no_grad()
def soft_update(target: nn.Module, learnt: nn.Module, *, share: float) -> None:
    r"""Move a target network towards the learnt one: :math:`\bar w \mathrel{+}= \tau (w - \bar w)`.

    Args:
        target: The network that follows.
        learnt: The network that it follows, of the same shape.
        share: :math:`\tau`; 1 copies.

    References:
        Lillicrap et al., 2016, https://arxiv.org/abs/1509.02971, algorithm 1.
    """
    torch._foreach_lerp_(list(target.parameters()), list(learnt.parameters()), share)
