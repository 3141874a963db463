"""What the ways to practise share that make drawn chunks more or less probable: GRPO and PPO."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from eyehand.functional.policy_loss import clipped_surrogate, kl_estimate, share_clipped
from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.practice import Practice
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.training.update import Update
from eyehand.types import check_ranges


@dataclass(frozen=True, kw_only=True)
class ChunkConfig:
    """How a policy's head learns from practice.

    Raises:
        InputError: If a number is out of its range.
    """

    randomness: float = 0.1
    """How random chunks are drawn; see `DrawingHead`."""
    epochs: int = 4
    """Passes over each piece of practice."""
    minibatch: int = 512
    """Chunks in a gradient."""
    lower: float = 0.2
    """How far the probability of a chunk may fall, as a share of what it was."""
    upper: float = 0.28
    """How far it may grow: more, so that rare chunks can ("clip higher")."""
    divergence_weight: float = 0.01
    """Weight of the divergence from the policy that practice began with."""
    learning_rate: float = 1e-4
    """Peak rate of Adam."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            randomness=(1e-6, 100),
            epochs=(1, 1000),
            minibatch=(1, 10**7),
            lower=(1e-6, 0.999),
            upper=(1e-6, 100),
            divergence_weight=(0, 1000),
            learning_rate=(0, 1),
            gradient_clip=(0, 10**6),
        )


class ChunkUpdate(Update):
    """Judge every chunk, then pass over all of them several times.

    The probability of a chunk is that of its executed actions together. The trunk of the policy
    stays as it is.

    Args:
        policy: The policy that practises, as it begins.
        config: How it learns.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    published = "policy/weights/"

    def __init__(self, policy: FramePolicy, config: ChunkConfig) -> None:
        policy.drawing_head()
        self.policy, self.config = policy.train(), config
        self.begun = copy.deepcopy(policy).requires_grad_(False).eval()
        """The policy as practice began, from which the learnt one must not go far."""
        optimizer = torch.optim.Adam(policy.head.parameters(), lr=config.learning_rate)
        self.learner = Learner(
            policy, optimizer, method="log_prob", gradient_clip=config.gradient_clip
        )
        self.learners = {"policy": self.learner}

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device; the trunk gets no gradient."""
        for learner in self.learners.values():
            learner.prepare(accelerator, unused=True)
        self.begun.to(accelerator.device)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Learn from one piece of practice."""
        assert isinstance(batch, Practice)
        config = self.config
        advantage, used, found = self.judge(batch)
        success = float(batch.success.float().mean())
        if not used.any():  # every start was always solved, or never: it tells nothing
            return {"loss": 0.0, "success": success, "used": 0.0, **found}
        rows = used.nonzero()[:, 0]
        practice, advantage = batch.rows(rows), advantage[rows]
        old = practice.chunk_log_prob(practice.drawn.log_prob)
        with torch.no_grad():
            first = practice.chunk_log_prob(self.begun.log_prob(practice.drawn, config.randomness))
        passes = []
        for _ in range(config.epochs):
            for which in torch.randperm(len(practice)).split(config.minibatch):
                part = practice.rows(which)
                passes.append(self._minibatch(part, old[which], first[which], advantage[which]))
        means = {n: sum(float(one[n]) for one in passes) / len(passes) for n in passes[0]}
        return {**means, **found, "success": success, "used": float(used.float().mean())}

    @abstractmethod
    def judge(
        self, practice: Practice
    ) -> tuple[Float[Tensor, " row"], Tensor, Mapping[str, Tensor | float]]:
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
        log_prob = part.chunk_log_prob(self.learner(part.drawn, config.randomness))
        surrogate = clipped_surrogate(log_prob, old, advantage, **limits).mean()
        divergence = kl_estimate(log_prob, first).mean()
        loss = surrogate + config.divergence_weight * divergence
        self.learner.zero_grad()
        self.learner.backward(loss)
        return {
            "loss": loss.detach(),
            "divergence": divergence.detach(),
            "clipped": share_clipped(log_prob.detach(), old, **limits),
            "gradient_norm": self.learner.step(),
        }
