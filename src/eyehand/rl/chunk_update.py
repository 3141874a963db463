"""What GRPO and PPO over chunks share: judge every chunk, then make the good ones more probable."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eyehand.functional.policy_loss import clipped_surrogate, share_clipped
from eyehand.rl.head_practising import HeadPractising, HeadPractisingConfig
from eyehand.rl.practice import Practice
from eyehand.training.config import TrainBatch
from eyehand.types import check_ranges


@dataclass(frozen=True, kw_only=True)
class ChunkConfig(HeadPractisingConfig):
    """How a policy's head learns from rounds of practice."""

    learning_rate: float = 1e-5
    """Peak rate of Adam. At 1e-4 half of all chunks were clipped on Meta-World, at 1e-5 a tenth."""
    epochs: int = 4
    """Passes over each round."""
    minibatch: int = 512
    """Chunks in a gradient."""
    lower: float = 0.2
    """Share by which a chunk's probability has fallen when it is pushed no further."""
    upper: float = 0.28
    """Share by which it has grown then: more, so that rare chunks can ("clip higher")."""
    divergence_weight: float = 0.01
    """Weight of the divergence from the policy that practice began with."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            epochs=(1, 1000),
            minibatch=(1, 10**7),
            lower=(1e-6, 0.999),
            upper=(1e-6, 100),
            divergence_weight=(0, 1000),
        )


class ChunkUpdate(HeadPractising):
    r"""Practise, judge every chunk, then pass over all of them several times.

    The probability of a chunk is that of its executed actions together. The divergence from the
    first policy is :math:`\frac{1}{2} (\log \pi - \log \pi_0)^2` of every chunk, whose gradient is
    that of :math:`KL(\pi \| \pi_0)` where :math:`\pi` drew the chunks (Schulman, 2020,
    "Approximating KL divergence", k2); it has no exponential that could run away.

    Args:
        policy: The policy that practises, as it begins.
        config: How it learns.
        practise: Makes a round of practice.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    config: ChunkConfig

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Do a round of practice and learn from it."""
        config = self.config
        practice = self.next_round(self.randomness)
        advantage, used, found = self.judge(practice)
        success = float(practice.success.float().mean())
        if not used.any():  # every start was always solved, or never: it tells nothing
            return {"loss": 0.0, "success": success, "used": 0.0, **found}
        rows = used.nonzero()[:, 0]
        practice, advantage = practice.rows(rows), advantage[rows]
        old, first = (
            self.known(policy, practice, rows=config.minibatch)
            for policy in (self.policy, self.first)
        )
        passes = []
        count = math.ceil(len(practice) / config.minibatch)  # of equal size: no step for a few
        for _ in range(config.epochs):
            for which in torch.randperm(len(practice), device=self.device).tensor_split(count):
                part = practice.rows(which)
                passes.append(self._minibatch(part, old[which], first[which], advantage[which]))
        means = {n: sum(float(one[n]) for one in passes) / len(passes) for n in passes[0]}
        return {**means, **found, "success": success, "used": float(used.float().mean())}

    @abstractmethod
    def judge(
        self, practice: Practice
    ) -> tuple[Float[Tensor, " row"], Bool[Tensor, " row"], Mapping[str, Tensor | float]]:
        """Say how much better than expected every chunk was.

        Returns:
            The advantages; which rows are learnt from; and what to log.
        """

    def _minibatch(
        self,
        part: Practice,
        old: Float[Tensor, " row"],
        first: Float[Tensor, " row"],
        advantage: Float[Tensor, " row"],
    ) -> dict[str, Tensor | float]:
        config = self.config
        limits = {"lower": config.lower, "upper": config.upper}
        log_prob = self.learnt(part)
        surrogate = clipped_surrogate(log_prob, old, advantage, **limits).mean()
        divergence = 0.5 * (log_prob - first).square().mean()
        loss = surrogate + config.divergence_weight * divergence
        return {
            "gradient_norm": self.move(loss),
            "loss": loss.detach(),
            "divergence": divergence.detach(),
            "clipped": share_clipped(log_prob.detach(), old, **limits),
        }
