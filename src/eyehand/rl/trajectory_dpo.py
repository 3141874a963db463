"""DPO on pairs of episodes: of two from one start, the one that succeeded shall be more probable.

Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, on trajectories as GRAPE (Zhang et al.,
2024, https://arxiv.org/abs/2411.19309) does it: the log-probability of an episode is the sum over
its chunks. It is the mean over them here, because failures last until the time is over, and a sum
would weigh them by their length. The practice is made once, by the policy as it was: nothing acts
while it learns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from eyehand.functional.policy_loss import preference_loss
from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.head_practising import HeadPractising, HeadPractisingConfig
from eyehand.rl.practice import Practice
from eyehand.rl.practising import Practise
from eyehand.training.config import TrainBatch
from eyehand.types import InputError, check_ranges

ROWS = 512
"""Chunks whose probabilities are computed together where no gradient is needed."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryDPOConfig(HeadPractisingConfig):
    """How pairs are learnt from."""

    beta: float = 0.1
    """How firmly the policy is held to the one that practice began with."""
    pairs: int = 8
    """Pairs in a gradient."""
    learning_rate: float = 3e-5
    """Peak rate of Adam."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(self, prefix="TrajectoryDPOConfig.", beta=(1e-6, 1000), pairs=(1, 10**6))


class TrajectoryDPO(HeadPractising):
    """Practise once, then learn from pairs of episodes, drawn at random.

    Args:
        policy: The policy that practises.
        config: How pairs are learnt from.
        practise: Makes the practice, when the first step is taken.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    config: TrajectoryDPOConfig

    def __init__(
        self, policy: FramePolicy, config: TrajectoryDPOConfig, practise: Practise
    ) -> None:
        super().__init__(policy, config, practise)
        self.practice: Practice | None = None
        """What was practised."""
        self.before: Float[Tensor, " row"] | None = None
        """Log-probabilities of its chunks under the policy as it was."""

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Learn from a handful of pairs.

        Raises:
            InputError: If no start was both solved and failed.
        """
        if self.practice is None:
            self.practice = self.next_round(self.randomness)
        practice = self.practice.to(self.device)
        good, bad = pairs_of(practice)
        if len(good) == 0:
            raise InputError(
                "no start of the practice has an episode that succeeded and one that failed: more "
                "episodes from each start, or more randomness, may give some; with another --out."
            )
        if self.before is None:
            self.before = self.known(self.first, practice, rows=ROWS)
        which = torch.randint(len(good), (self.config.pairs,), device=self.device)
        episodes = torch.cat([good[which], bad[which]])
        rows = [(practice.episode == one).nonzero()[:, 0] for one in episodes]
        every = torch.cat(rows)
        lengths = [len(one) for one in rows]
        own = means(self.learnt(practice.rows(every)), lengths)
        first = means(self.before[every], lengths)
        half = len(which)
        losses = preference_loss(
            own[:half], own[half:], first[:half], first[half:], beta=self.config.beta
        )
        right = (own - first)[:half] > (own - first)[half:]
        return {
            "gradient_norm": self.move(losses.mean()),
            "loss": losses.mean().detach(),
            "right": right.float().mean(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        kept = {} if self.practice is None else self.practice.state_dict()
        return super().state_dict() | {f"practice/{n}": t.clone() for n, t in kept.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        kept = {n.removeprefix("practice/"): t for n, t in state.items() if n[:9] == "practice/"}
        self.practice, self.before = (Practice.from_state(kept) if kept else None), None


def means(values: Float[Tensor, " row"], lengths: Sequence[int]) -> Float[Tensor, " episode"]:
    """Return the mean of each part of the values.

    Example:
        >>> means(torch.tensor([1.0, 3.0, 5.0]), [2, 1])
        tensor([2., 5.])
    """
    return torch.stack([part.mean() for part in values.split(list(lengths))])


def pairs_of(
    practice: Practice,
) -> tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"]]:
    """Return all pairs of episodes from one start: the one that succeeded, the one that failed."""
    good, bad = practice.success.nonzero()[:, 0], (~practice.success).nonzero()[:, 0]
    same = practice.group[good][:, None] == practice.group[bad]
    which = same.nonzero()
    return good[which[:, 0]], bad[which[:, 1]]
