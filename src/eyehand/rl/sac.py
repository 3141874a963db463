"""Soft actor-critic: act well and stay as random as that allows.

Haarnoja et al., 2018, https://arxiv.org/abs/1812.05905: a squashed Gaussian, two values of which
the smaller one is believed, and a temperature that is learnt, so that the entropy stays near -n for
actions of n numbers.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from eyehand.functional.squashed_gaussian import sample_squashed
from eyehand.nn.perceptron import GaussianPerceptron
from eyehand.rl.experience import Experience, check_actions
from eyehand.rl.off_policy import Critic, OffPolicy, OffPolicyConfig, soft_update, uniform_actions
from eyehand.training.learner import Learner
from eyehand.types import Environments, check_ranges


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
        self.policy = GaussianPerceptron(dim, self.action_dim, config.dims)
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
        found = soft_step(part, self.wanted(part), **self.learners)
        soft_update(self.target_critic, self.critic, share=self.config.follow)
        return found

    def wanted(self, part: Experience) -> Float[Tensor, " step"]:
        """Return what the values should be."""
        return soft_target(
            part,
            self.policy,
            self.target_critic,
            weight=self.temperature().exp(),
            discount=self.config.discount,
        )


@torch.no_grad()
def soft_target(
    part: Experience,
    policy: Callable[..., tuple[Tensor, Tensor]],
    target_critic: Callable[..., Tensor],
    *,
    weight: Float[Tensor, ""] | float,
    discount: float,
) -> Float[Tensor, " step"]:
    r"""Return what the values should be: where a task ended, nothing follows.

    .. math:: y = r + \gamma (\min_i Q_{\bar w_i}(s', a') - \alpha \log \pi(a' \mid s')),
              \quad a' \sim \pi(\cdot \mid s')

    Args:
        part: Steps that any policy did.
        policy: From observations to mean and logarithm of the deviation, before the squashing.
        target_critic: From observations and actions to the values of several networks.
        weight: :math:`\alpha`; with 0 the entropy of later steps is worth nothing.
        discount: Weight of the future per step.
    """
    action, log_prob = sample_squashed(*policy(part.next_observation))
    following = target_critic(part.next_observation, action).min(dim=0).values - weight * log_prob
    return part.reward + discount * following.masked_fill(part.terminated, 0)


def soft_step(
    part: Experience,
    wanted: Float[Tensor, " step"],
    *,
    policy: Learner,
    critic: Learner,
    temperature: Learner,
) -> Mapping[str, Tensor | float]:
    """Move the values towards their targets, the policy uphill, and the temperature.

    Args:
        part: Steps that any policy did.
        wanted: What their values should be.
        policy: Called with observations it returns mean and logarithm of the deviation.
        critic: Called with observations and actions it returns the values of several networks.
        temperature: Called it returns the logarithm of the entropy's weight.

    Returns:
        What to log.
    """
    values = critic(part.observation, part.action)
    loss = 0.5 * (values - wanted).square().mean(dim=1).sum()
    critic.zero_grad()
    critic.backward(loss)
    norm = critic.step()
    action, log_prob = sample_squashed(*policy(part.observation))
    weight = temperature().exp().detach()
    best = critic.network(part.observation, action).min(dim=0).values
    uphill = (weight * log_prob - best).mean()
    policy.zero_grad()
    policy.backward(uphill)  # the critic's own gradients are forgotten before its next step
    policy.step()
    entropy = -log_prob.detach().mean()
    temperature.zero_grad()
    temperature.backward(temperature() * (entropy + action.shape[-1]))
    temperature.step()
    return {
        "loss": loss.detach(),
        "value": values.detach().mean(),
        "policy": uphill.detach(),
        "entropy": entropy,
        "temperature": weight,
        "gradient_norm": norm,
    }
