"""TD3: an action that a network says, improved along the gradient of a value that doubts itself.

Fujimoto et al., 2018, https://arxiv.org/abs/1802.09477: DDPG with three changes against values that
are too high. The smaller of two values is believed, the target's action is blurred, and the policy
moves at every second gradient. Each is a field of the config.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.rl.experience import Experience, check_actions
from eyehand.rl.off_policy import (
    Critic,
    Deterministic,
    OffPolicy,
    OffPolicyConfig,
    soft_update,
    uniform_actions,
)
from eyehand.training.learner import Learner
from eyehand.types import Environments, check_ranges


@dataclass(frozen=True, kw_only=True)
class TD3Config(OffPolicyConfig):
    """How TD3 learns."""

    noise: float = 0.1
    """Deviation of the noise that is added to actions to explore."""
    target_noise: float = 0.2
    """Deviation of the noise on the target's action."""
    target_noise_limit: float = 0.5
    """That noise is clipped to it."""
    critics: int = 2
    """Values, of which the smallest is believed."""
    policy_every: int = 2
    """Gradients of the values for one of the policy."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            noise=(0, 10),
            target_noise=(0, 10),
            target_noise_limit=(0, 10),
            critics=(1, 100),
            policy_every=(1, 1000),
        )


class TD3(OffPolicy):
    """TD3; the arguments are those of `OffPolicy`.

    Raises:
        InputError: If actions are no numbers.
    """

    config: TD3Config

    def __init__(
        self,
        environments: Environments,
        config: TD3Config,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(environments, config, seed=seed)
        space, dim = environments.action_space, environments.observation_dim
        name = type(self).__name__
        self.action_dim = check_actions(space, algorithm=name, discrete=False)
        self.policy = Deterministic(dim, self.action_dim, config.dims)
        self.critic = Critic(dim, self.action_dim, config.dims, networks=config.critics)
        self.target_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.learners = {
            title: Learner(network, torch.optim.Adam(network.parameters(), config.learning_rate))
            for title, network in (("policy", self.policy), ("critic", self.critic))
        }
        self.targets = {"target_policy": self.target_policy, "target_critic": self.target_critic}

    def act(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the policy's actions with noise."""
        action = self.best(observation)
        return (action + self.config.noise * torch.randn_like(action)).clamp(-1, 1)

    def best(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the policy's actions."""
        return self.policy(observation)

    def act_randomly(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return any actions."""
        return uniform_actions(len(observation), self.action_dim)

    def learn(self, part: Experience) -> Mapping[str, Tensor | float]:
        """Move the values towards their targets, and now and then the policy uphill."""
        policy, critic = self.learners["policy"], self.learners["critic"]
        wanted = self.wanted(part)
        values = critic(part.observation, part.action)
        loss = (values - wanted).square().mean(dim=1).sum()
        critic.zero_grad()
        critic.backward(loss)
        found: dict[str, Tensor | float] = {
            "loss": loss.detach(),
            "value": values.detach().mean(),
            "gradient_norm": critic.step(),
        }
        if (self.gradients + 1) % self.config.policy_every == 0:
            uphill = -self.critic(part.observation, policy(part.observation))[0].mean()
            policy.zero_grad()
            policy.backward(uphill)  # the critic's own gradients are forgotten before its next step
            policy.step()
            found["policy"] = uphill.detach()
            soft_update(self.target_policy, self.policy, share=self.config.follow)
            soft_update(self.target_critic, self.critic, share=self.config.follow)
        return found

    @torch.no_grad()
    def wanted(self, part: Experience) -> Float[Tensor, " step"]:
        """Return what the values should be: where a task ended, nothing follows."""
        config = self.config
        action = self.target_policy(part.next_observation)
        limit = config.target_noise_limit
        blur = (config.target_noise * torch.randn_like(action)).clamp(-limit, limit)
        action = (action + blur).clamp(-1, 1)
        following = self.target_critic(part.next_observation, action).min(dim=0).values
        return part.reward + config.discount * following.masked_fill(part.terminated, 0)
