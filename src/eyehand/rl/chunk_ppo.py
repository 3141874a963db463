"""PPO over chunks: a value of every moment says which chunk made an episode better or worse.

Schulman et al., 2017, https://arxiv.org/abs/1707.06347, on the chunks of a VLA as piRL (Chen et
al., 2025, https://arxiv.org/abs/2510.25889) and SimpleVLA-RL's PPO have it: one step of the
algorithm is one chunk, the reward is 1 at the end of an episode that succeeded, the value is learnt
on the policy's features without a gradient into them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.returns import gae
from eyehand.nn.perceptron import Perceptron
from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.chunk_update import ChunkConfig, ChunkUpdate
from eyehand.rl.experience import check_widths
from eyehand.rl.practice import Practice
from eyehand.rl.practising import Practise
from eyehand.training.learner import Learner
from eyehand.types import check_ranges


@dataclass(frozen=True, kw_only=True)
class ChunkPPOConfig(ChunkConfig):
    """How the value is learnt and used."""

    discount: float = 0.99
    """Weight of the future per chunk."""
    trace: float = 0.95
    """Lambda of the advantage's estimate."""
    critic_dims: tuple[int, ...] = (256, 256)
    """Widths of the value's hidden layers."""
    critic_learning_rate: float = 1e-3
    """Peak rate of the value's Adam."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_widths("ChunkPPOConfig.critic_dims", self.critic_dims)
        check_ranges(
            self,
            prefix="ChunkPPOConfig.",
            discount=(0, 1),
            trace=(0, 1),
            critic_dims=(1, 10**4),
            critic_learning_rate=(0, 1),
        )


class SuccessValue(nn.Module):
    """The chance of success, from the feature of the present frame.

    Args:
        dim: Width of the feature.
        dims: Widths of the hidden layers.
    """

    def __init__(self, dim: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(Perceptron(dim, dims), nn.Linear(dims[-1], 1))

    def forward(self, feature: Float[Tensor, "row dim"]) -> Float[Tensor, " row"]:
        """Return its logit."""
        found: Float[Tensor, " row"] = self.layers(feature)[:, 0]
        return found


class ChunkPPO(ChunkUpdate):
    """PPO over chunks; the arguments are those of `ChunkUpdate`.

    An episode whose time is over counts as failed and ended: the outcome is all that is rewarded.
    """

    config: ChunkPPOConfig

    def __init__(self, policy: FramePolicy, config: ChunkPPOConfig, practise: Practise) -> None:
        super().__init__(policy, config, practise)
        critic = SuccessValue(policy.feature_dim, config.critic_dims)
        optimizer = torch.optim.Adam(critic.parameters(), lr=config.critic_learning_rate)
        self.critic = Learner(critic, optimizer, gradient_clip=config.gradient_clip)
        self.learners = {"policy": self.learner, "critic": self.critic}

    def judge(
        self, practice: Practice
    ) -> tuple[Float[Tensor, " row"], Bool[Tensor, " row"], Mapping[str, Tensor | float]]:
        """Estimate advantages by the value as it is, then learn the value from the outcomes."""
        last = practice.last
        reward = practice.success[practice.episode].float() * last
        feature = practice.drawn.feature[:, -1]
        with torch.no_grad():
            value = self.critic(feature).float().sigmoid()
        following = torch.cat([value[1:], value.new_zeros(1)])
        advantage = gae(
            reward, value, following, last, torch.zeros_like(last),
            discount=self.config.discount, trace=self.config.trace,
        )  # fmt: skip
        loss = self._learn_value(feature, (advantage + value).clamp(0, 1))
        scaled = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        # Outcomes that are all the same would leave nothing but the value's own errors.
        differ = bool((practice.success != practice.success[0]).any())
        return scaled, torch.full_like(last, differ), {"value_loss": loss}

    def _learn_value(
        self, feature: Float[Tensor, "row dim"], target: Float[Tensor, " row"]
    ) -> float:
        """Lower the cross-entropy between value and target, in as many passes as the policy's."""
        losses, count = [], math.ceil(len(target) / self.config.minibatch)
        for _ in range(self.config.epochs):
            for which in torch.randperm(len(target)).tensor_split(count):
                logit = self.critic(feature[which])
                loss = F.binary_cross_entropy_with_logits(logit.float(), target[which])
                self.critic.zero_grad()
                self.critic.backward(loss)
                self.critic.step()
                losses.append(float(loss.detach()))
        return sum(losses) / len(losses)
