"""What REINFORCE, A2C and PPO share: act for some steps, judge every action, learn, forget."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.functional.returns import gae
from eyehand.rl.actor_critic import ActorCritic, RunningMoments
from eyehand.rl.experience import (
    Collector,
    Experience,
    check_one_process,
    check_widths,
    means_of,
    under,
)
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.training.update import Update
from eyehand.types import Environments, check_ranges

LARGEST_REWARD = 10.0
"""Scaled rewards are clipped to it."""


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig:
    """How experience is made and judged.

    Raises:
        InputError: If a number is out of its range.
    """

    steps: int = 128
    """Steps of every environment before the policy learns."""
    discount: float = 0.99
    """Weight of the future per step."""
    trace: float = 0.95
    """Lambda of the advantage's estimate: 0 trusts the value alone, 1 the rewards alone."""
    dims: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    learning_rate: float = 3e-4
    """Peak rate of Adam."""
    gradient_clip: float = 0.5
    """Largest norm of the gradient."""
    value_weight: float = 0.5
    """Of the value's squared error beside the policy's loss."""
    entropy_weight: float = 0.0
    """Of the entropy, which keeps the policy from settling early."""
    normalize_observations: bool = False
    """Whether observations are normalised by mean and deviation of those seen."""
    scale_rewards: bool = False
    """Whether rewards are divided by the deviation of their discounted sum."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_widths(f"{type(self).__name__}.dims", self.dims)
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            steps=(1, 10**6),
            discount=(0, 1),
            trace=(0, 1),
            dims=(1, 10**4),
            learning_rate=(0, 1),
            gradient_clip=(0, 10**6),
            value_weight=(0, 10**3),
            entropy_weight=(0, 10**3),
        )


@dataclass(frozen=True)
class Rollout:
    """Experience with what its actions were worth; every field has one row a step."""

    experience: Experience
    log_prob: Float[Tensor, " step"]
    """Of the actions under the policy that drew them."""
    advantage: Float[Tensor, " step"]
    target: Float[Tensor, " step"]
    """What the value should have been."""

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.log_prob)

    def __getitem__(self, which: Tensor) -> "Rollout":
        """Return some of the steps."""
        own = (self.log_prob, self.advantage, self.target)
        return Rollout(self.experience[which], *(tensor[which] for tensor in own))


class OnPolicy(Update):
    """Act, judge, `learn`: one step of the training loop.

    Args:
        environments: Where to act.
        config: How experience is made and judged.
        seed: Of the environments' episodes.
    """

    published = "weights/"

    def __init__(
        self,
        environments: Environments,
        config: OnPolicyConfig,
        *,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.collector = Collector(environments, seed=seed)
        self.network = ActorCritic(
            environments.observation_dim,
            environments.action_space,
            dims=config.dims,
            normalize=config.normalize_observations,
        )
        optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=1e-5
        )  # the published eps
        self.learner = Learner(self.network, optimizer, gradient_clip=config.gradient_clip)
        self.learners = {"": self.learner}
        self.running = torch.zeros(len(environments), dtype=torch.float64)
        """Discounted sum of the rewards of every environment's episode so far."""
        self.returns = RunningMoments(1)

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device."""
        check_one_process(accelerator)
        super().prepare(accelerator, batch)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Act for some steps, then learn from them."""
        experience, finished = self.collector.collect(self._act, self.config.steps)
        experience = experience.to(self.device)
        found = self.learn(self.judge(experience))
        if self.network.seen is not None:  # afterwards: until then the policy is the one that acted
            self.network.seen.update(experience.observation.flatten(0, 1))
        return {**found, **means_of(finished)}

    @abstractmethod
    def learn(self, rollout: Rollout) -> Mapping[str, Tensor | float]:
        """Learn from steps that the present policy did; return what to log."""

    @torch.no_grad()
    def judge(self, experience: Experience) -> Rollout:
        """Say how good every action was, by generalised advantage estimation."""
        config, shape = self.config, experience.reward.shape
        reward = self._scaled(experience) if config.scale_rewards else experience.reward
        flat = experience.flat()
        log_prob, _, value = self.network(flat.observation, flat.action)
        next_value = self.network.values(flat.next_observation)
        advantage = gae(
            reward,
            value.view(shape),
            next_value.view(shape),
            experience.terminated,
            experience.truncated,
            discount=config.discount,
            trace=config.trace,
        ).flatten()
        return Rollout(flat, log_prob, advantage, advantage + value)

    def losses(
        self, rollout: Rollout, policy_loss: Float[Tensor, ""], value: Float[Tensor, " step"],
        entropy: Float[Tensor, " step"],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Return the loss of the policy with those of value and entropy, and their weighted sum."""
        value_loss = 0.5 * (value - rollout.target).square().mean()
        loss = (
            policy_loss
            + self.config.value_weight * value_loss
            - self.config.entropy_weight * entropy.mean()
        )
        return {
            "loss": loss,
            "policy": policy_loss.detach(),
            "value": value_loss.detach(),
            "entropy": entropy.mean().detach(),
        }

    def descend(self, losses: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Move the weights by the gradient of the loss; return what to log."""
        self.learner.zero_grad()
        self.learner.backward(losses["loss"])
        return {**losses, "loss": losses["loss"].detach(), "gradient_norm": self.learner.step()}

    def best(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the most probable actions."""
        return self.network.act(observation, draw=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def _act(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        return self.network.act(observation.to(self.device))

    def _scaled(self, experience: Experience) -> Float32[Tensor, "step env"]:
        """Return rewards divided by the deviation of their discounted sum so far."""
        ends = (experience.terminated | experience.truncated).cpu()
        for reward, ended in zip(experience.reward.cpu(), ends, strict=True):
            self.running = self.config.discount * self.running + reward
            self.returns.update(self.running[:, None])
            self.running = self.running * ~ended
        scale = (self.returns.variance + 1e-8).sqrt().float()
        return (experience.reward / scale.to(self.device)).clamp(-LARGEST_REWARD, LARGEST_REWARD)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        own = {"running": self.running.clone()}
        parts: dict[str, Any] = {"collector": self.collector, "returns": self.returns}
        for title, part in parts.items():
            own |= {f"{title}/{name}": t.clone() for name, t in part.state_dict().items()}
        return super().state_dict() | own

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.running = state["running"].clone()
        self.returns.load_state_dict(under(state, "returns/"))
        self.collector.load_state_dict(under(state, "collector/"))
