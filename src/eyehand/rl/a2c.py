"""Advantage actor-critic: a few steps in many environments, one gradient, and on.

Mnih et al., 2016, https://arxiv.org/abs/1602.01783 (A3C), done by one process at a time (A2C): the
gradient of a policy is taken from n-step advantages, and each piece of experience is used once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from eyehand.rl.on_policy import OnPolicy, OnPolicyConfig, Rollout


@dataclass(frozen=True, kw_only=True)
class A2CConfig(OnPolicyConfig):
    """How A2C learns: n-step advantages of short pieces."""

    steps: int = 8
    """Steps of every environment before the policy learns: the n of its advantages."""
    trace: float = 1.0
    """Lambda of the advantage's estimate."""
    learning_rate: float = 7e-4
    """Peak rate of Adam."""


class A2C(OnPolicy):
    """A2C; the arguments are those of `OnPolicy`."""

    def learn(self, rollout: Rollout) -> Mapping[str, Tensor | float]:
        """Take one step along the gradient of the policy, value and entropy."""
        taken = rollout.experience
        log_prob, entropy, value = self.learner(taken.observation, taken.action)
        policy_loss = -(rollout.advantage * log_prob).mean()
        return self.descend(self.losses(rollout, policy_loss, value, entropy))
