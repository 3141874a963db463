"""GRPO, group relative policy optimisation: good is what did better than others from its start.

Shao et al., 2024, https://arxiv.org/abs/2402.03300, for language models; for VLAs SimpleVLA-RL (Li
et al., 2025, https://arxiv.org/abs/2509.09674): the reward is 1 for success, all chunks of an
episode share its advantage, starts that were always or never solved are left out (dynamic
sampling, Yu et al., 2025, https://arxiv.org/abs/2503.14476). No value network is learnt. As in the
last source the mean is over all chunks, so a long episode weighs more than a short one.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eyehand.functional.policy_loss import group_advantage
from eyehand.rl.chunk_update import ChunkUpdate
from eyehand.rl.practice import Practice
from eyehand.types import InputError


class GRPO(ChunkUpdate):
    """GRPO over chunks; the arguments are those of `ChunkUpdate`."""

    def judge(
        self, practice: Practice
    ) -> tuple[Float[Tensor, " row"], Bool[Tensor, " row"], Mapping[str, Tensor | float]]:
        """Compare every episode with those from its start.

        Raises:
            InputError: If not all starts have the same number of episodes.
        """
        order = practice.group.argsort(stable=True)
        groups, counts = practice.group.unique(return_counts=True)
        if (counts != counts[0]).any():
            raise InputError(
                f"GRPO compares as many episodes from every start; got {counts.tolist()}."
            )
        reward = practice.success[order].float().view(len(groups), -1)
        advantage = torch.empty(len(order), device=reward.device)
        advantage[order] = group_advantage(reward).flatten()
        telling = (reward != reward[:, :1]).any(dim=1)
        used = torch.empty_like(practice.success)
        used[order] = telling.repeat_interleave(reward.shape[1])
        found = {"telling": float(telling.float().mean())}
        return advantage[practice.episode], used[practice.episode], found
