"""Soft actor-critic: act well and stay as random as that allows.

Haarnoja et al., 2018, https://arxiv.org/abs/1812.05905: a squashed Gaussian, two values of which
the smaller one is believed, and a temperature that is learnt, so that the entropy stays near -n for
actions of n numbers.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from eyehand.functional.squashed_gaussian import sample_squashed
from eyehand.nn.perceptron import Perceptron
from eyehand.rl.experience import Experience, check_actions
from eyehand.rl.off_policy import Critic, OffPolicy, OffPolicyConfig, soft_update, uniform_actions
from eyehand.training.learner import Learner
from eyehand.types import Environments, check_ranges

LOWEST, HIGHEST = -20.0, 2.0
"""Of the logarithm of the deviation."""


@dataclass(frozen=True, kw_only=True)
class SACConfig(OffPolicyConfig):
    """How soft actor-critic learns."""

    critics: int = 2
    """Values, of which the smallest is believed."""
    temperature: float = 1.0
    """Weight of the entropy at first."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(self, prefix="SACConfig.", critics=(1, 100), temperature=(1e-9, 10**6))


class SquashedPolicy(nn.Module):
    """Observation in; mean and logarithm of the deviation, before the squashing, out.

    Args:
        observation_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        dims: Widths of the hidden layers.
    """

    def __init__(self, observation_dim: int, action_dim: int, dims: Sequence[int]) -> None:
        super().__init__()
        self.trunk = Perceptron(observation_dim, dims)
        self.to_both = nn.Linear(dims[-1], 2 * action_dim)

    def forward(
        self, observation: Float32[Tensor, "step observation"]
    ) -> tuple[Float[Tensor, "step action"], Float[Tensor, "step action"]]:
        """Return mean and logarithm of the deviation."""
        mean, log_std = self.to_both(self.trunk(observation)).chunk(2, dim=-1)
        return mean, log_std.clamp(LOWEST, HIGHEST)


class Temperature(nn.Module):
    """The weight of the entropy, kept as its logarithm.

    Args:
        first: The weight at first.
    """

    def __init__(self, first: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([float(np.log(first))]))

    def forward(self) -> Float[Tensor, ""]:
        """Return the weight's logarithm."""
        return self.log[0]


class SAC(OffPolicy):
    """SAC; the arguments are those of `OffPolicy`.

    Raises:
        InputError: If actions are no numbers.
    """

    config: SACConfig

    def __init__(
        self,
        environments: Environments,
        config: SACConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(environments, config, seed=seed)
        space, dim = environments.action_space, environments.observation_dim
        self.action_dim = check_actions(space, algorithm="SAC", discrete=False)
        self.policy = SquashedPolicy(dim, self.action_dim, config.dims)
        self.critic = Critic(dim, self.action_dim, config.dims, networks=config.critics)
        self.temperature = Temperature(config.temperature)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        networks = {
            "policy": self.policy,
            "critic": self.critic,
            "temperature": self.temperature,
        }
        self.learners = {
            title: Learner(network, torch.optim.Adam(network.parameters(), config.learning_rate))
            for title, network in networks.items()
        }
        self.targets = {"target_critic": self.target_critic}

    def act(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Draw actions."""
        return sample_squashed(*self.policy(observation))[0]

    def best(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the squashed means."""
        return self.policy(observation)[0].tanh()

    def act_randomly(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return any actions."""
        return uniform_actions(len(observation), self.action_dim)

    def learn(self, part: Experience) -> Mapping[str, Tensor | float]:
        """Move the values towards their targets, the policy uphill, and the temperature."""
        policy, critic, temperature = self.learners.values()
        wanted = self.wanted(part)
        values = critic(part.observation, part.action)
        loss = 0.5 * (values - wanted).square().mean(dim=1).sum()
        critic.zero_grad()
        critic.backward(loss)
        norm = critic.step()
        action, log_prob = sample_squashed(*policy(part.observation))
        weight = self.temperature().exp().detach()
        best = self.critic(part.observation, action).min(dim=0).values
        uphill = (weight * log_prob - best).mean()
        policy.zero_grad()
        policy.backward(uphill)  # the critic's own gradients are forgotten before its next step
        policy.step()
        entropy = -log_prob.detach().mean()
        temperature.zero_grad()
        temperature.backward(temperature() * (entropy + self.action_dim))
        temperature.step()
        soft_update(self.target_critic, self.critic, share=self.config.follow)
        return {
            "loss": loss.detach(),
            "value": values.detach().mean(),
            "policy": uphill.detach(),
            "entropy": entropy,
            "temperature": weight,
            "gradient_norm": norm,
        }

    @torch.no_grad()
    def wanted(self, part: Experience) -> Float[Tensor, " step"]:
        """Return what the values should be: where a task ended, nothing follows."""
        action, log_prob = sample_squashed(*self.policy(part.next_observation))
        following = self.target_critic(part.next_observation, action).min(dim=0).values
        following = following - self.temperature().exp() * log_prob
        return part.reward + self.config.discount * following.masked_fill(part.terminated, 0)
