"""DPO on pairs of episodes: of two from one start, the one that succeeded shall be more probable.

Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, on trajectories as GRAPE (Zhang et al.,
2024, https://arxiv.org/abs/2411.19309) does it: the log-probability of an episode is the sum over
its chunks. It is the mean over them here, because failures last until the time is over, and a sum
would weigh them by their length. The practice is made once, by the policy as it was: nothing acts
while it learns.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int64
from torch import Tensor

from eyehand.functional.policy_loss import preference_loss
from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.practice import Practice
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.training.update import Update
from eyehand.types import InputError, check_ranges


@dataclass(frozen=True, kw_only=True)
class TrajectoryDPOConfig:
    """How pairs are learnt from.

    Raises:
        InputError: If a number is out of its range.
    """

    randomness: float = 0.1
    """How random chunks were drawn; see `DrawingHead`."""
    beta: float = 0.1
    """How firmly the policy is held to the one that practice began with."""
    pairs: int = 8
    """Pairs in a gradient."""
    learning_rate: float = 3e-5
    """Peak rate of Adam."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            prefix="TrajectoryDPOConfig.",
            randomness=(1e-6, 100),
            beta=(1e-6, 1000),
            pairs=(1, 10**6),
            learning_rate=(0, 1),
            gradient_clip=(0, 10**6),
        )


class TrajectoryDPO(Update):
    """Pass over the pairs of a piece of practice, in an order drawn at random.

    Args:
        policy: The policy that practised.
        config: How pairs are learnt from.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    published = "policy/weights/"

    def __init__(self, policy: FramePolicy, config: TrajectoryDPOConfig) -> None:
        policy.drawing_head()
        self.policy, self.config = policy.train(), config
        self.begun = copy.deepcopy(policy).requires_grad_(False).eval()
        optimizer = torch.optim.Adam(policy.head.parameters(), lr=config.learning_rate)
        self.learner = Learner(
            policy, optimizer, method="log_prob", gradient_clip=config.gradient_clip
        )
        self.learners = {"policy": self.learner}

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device; the trunk gets no gradient."""
        self.learner.prepare(accelerator, unused=True)
        self.begun.to(accelerator.device)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Learn from a handful of pairs.

        Raises:
            InputError: If no start was both solved and failed.
        """
        assert isinstance(batch, Practice)
        good, bad = pairs_of(batch)
        if len(good) == 0:
            raise InputError(
                "no start of the practice has an episode that succeeded and one that failed: more "
                "episodes from each start, or more randomness, may give some."
            )
        which = torch.randint(len(good), (self.config.pairs,))
        chosen, rejected = good[which], bad[which]
        own = self._means(batch, torch.cat([chosen, rejected]), begun=False)
        with torch.no_grad():
            first = self._means(batch, torch.cat([chosen, rejected]), begun=True)
        half = len(chosen)
        losses = preference_loss(
            own[:half], own[half:], first[:half], first[half:], beta=self.config.beta
        )
        self.learner.zero_grad()
        self.learner.backward(losses.mean())
        right = (own - first)[:half] > (own - first)[half:]
        return {
            "loss": losses.mean().detach(),
            "right": right.float().mean(),
            "gradient_norm": self.learner.step(),
        }

    def _means(
        self, batch: Practice, episodes: Int64[Tensor, " episode"], *, begun: bool
    ) -> Float[Tensor, " episode"]:
        """Return the mean log-probability of the chunks of some episodes."""
        rows = [(batch.episode == one).nonzero()[:, 0] for one in episodes]
        part = batch.rows(torch.cat(rows))
        call = self.begun.log_prob if begun else self.learner
        chunk = part.chunk_log_prob(call(part.drawn, self.config.randomness))
        return torch.stack([own.mean() for own in chunk.split([len(one) for one in rows])])


def pairs_of(
    practice: Practice,
) -> tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"]]:
    """Return all pairs of episodes from one start: the one that succeeded, the one that failed."""
    good, bad = practice.success.nonzero()[:, 0], (~practice.success).nonzero()[:, 0]
    same = practice.group[good][:, None] == practice.group[bad]
    which = same.nonzero()
    return good[which[:, 0]], bad[which[:, 1]]
