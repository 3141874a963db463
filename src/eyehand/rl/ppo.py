"""Proximal policy optimisation: several careful steps on each piece of experience.

Schulman et al., 2017, https://arxiv.org/abs/1707.06347. The details that its published code has and
the paper leaves out (Huang et al., 2022, "The 37 implementation details of PPO"), as they are here:

1. two networks of tanh units, orthogonal at first, the policy's last layer small (`ActorCritic`);
2. Adam with eps 1e-5, its rate falling over the run (the training loop's);
3. generalised advantage estimation, with the value of the state that was reached where an episode
   was cut short (`eyehand.functional.returns.gae`);
4. advantages normalised in every minibatch;
5. the gradient's norm clipped at 0.5;
6. for numbers as actions: a deviation that does not depend on the observation, and actions clipped
   to their range only on the way to the environment;
7. where the fields ``normalize_observations`` and ``scale_rewards`` are set: observations
   normalised and clipped at 10 deviations, rewards divided by the deviation of their discounted sum
   and clipped at 10.

Left out: the clipped loss of the value, which was found to do nothing or harm (Andrychowicz et al.,
2021, https://arxiv.org/abs/2006.05990).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eyehand.functional.policy_loss import clipped_surrogate, kl_estimate, share_clipped
from eyehand.rl.on_policy import OnPolicy, OnPolicyConfig, Rollout
from eyehand.types import check_ranges


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnPolicyConfig):
    """How PPO learns from a piece of experience."""

    epochs: int = 10
    """Passes over it."""
    minibatch: int = 64
    """Steps in a gradient."""
    clip: float = 0.2
    """Share by which the probability of an action has moved when it is pushed no further."""
    stop_at: float | None = None
    """Divergence from the policy that acted at which no further pass is made."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(
            self,
            prefix="PPOConfig.",
            epochs=(1, 10**4),
            minibatch=(1, 10**7),
            clip=(1e-6, 0.999),
            stop_at=(0, 10**6),
        )


class PPO(OnPolicy):
    """PPO; the arguments are those of `OnPolicy`."""

    config: PPOConfig

    def learn(self, rollout: Rollout) -> Mapping[str, Tensor | float]:
        """Pass over the rollout several times in minibatches."""
        config = self.config
        passes: list[dict[str, Tensor | float]] = []
        for _ in range(config.epochs):
            found = [
                self._minibatch(rollout[which])
                for which in torch.randperm(len(rollout)).split(config.minibatch)
            ]
            passes += found
            apart = sum(float(one["divergence"]) for one in found) / len(found)
            if config.stop_at is not None and apart > config.stop_at:
                break
        return {name: sum(float(one[name]) for one in passes) / len(passes) for name in passes[0]}

    def _minibatch(self, part: Rollout) -> dict[str, Tensor | float]:
        clip = self.config.clip
        log_prob, entropy, value = self.learner(part.experience.observation, part.experience.action)
        advantage = part.advantage
        if len(part) > 1:  # one alone has no deviation
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        surrogate = clipped_surrogate(log_prob, part.log_prob, advantage, lower=clip, upper=clip)
        with torch.no_grad():
            divergence = kl_estimate(part.log_prob, log_prob).mean()
            clipped = share_clipped(log_prob, part.log_prob, lower=clip, upper=clip)
        found = self.descend(self.losses(part, surrogate.mean(), value, entropy))
        return {**found, "divergence": divergence, "clipped": clipped}
