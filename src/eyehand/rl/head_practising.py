"""What ways to practise share that teach a head: the policy that it began as, and probabilities."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.practice import Practice
from eyehand.rl.practising import Practise, Practising, PractisingConfig
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.types import check_ranges


@dataclass(frozen=True, kw_only=True)
class HeadPractisingConfig(PractisingConfig):
    """How random a head draws while it practises."""

    randomness: float | None = None
    """How random chunks are drawn; left out, as the head says (`DrawingHead.randomness`)."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(self, prefix=f"{type(self).__name__}.", randomness=(1e-6, 100))


class HeadPractising(Practising):
    """A policy whose head learns from the probabilities of what it drew.

    Args:
        policy: The policy as it begins.
        config: How it learns.
        practise: Makes a round of practice.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    policy: FramePolicy

    def __init__(
        self, policy: FramePolicy, config: HeadPractisingConfig, practise: Practise
    ) -> None:
        super().__init__(policy, config, practise)
        head = policy.drawing_head()
        self.randomness = head.randomness if config.randomness is None else config.randomness
        self.first = copy.deepcopy(policy).requires_grad_(False)
        """The policy as practice began."""
        optimizer = torch.optim.Adam(policy.head.parameters(), lr=config.learning_rate)
        self.learner = Learner(
            policy, optimizer, method="log_prob", gradient_clip=config.gradient_clip
        )
        self.learners = {"policy": self.learner}

    @classmethod
    def policy_of(cls, policy: FramePolicy, config: Any, *, executed: int) -> FramePolicy:
        """Return the policy itself.

        Raises:
            InputError: If the head cannot say how probable an action is.
        """
        policy.drawing_head()
        return policy

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device, the first policy too."""
        super().prepare(accelerator, batch)
        self.first.to(self.device)

    def learnt(self, practice: Practice) -> Float[Tensor, " row"]:
        """Return log-probabilities under the policy that learns, with a gradient."""
        # cuDNN's recurrent networks go backward in training mode only.
        with torch.backends.cudnn.flags(enabled=False):
            return practice.log_prob(self.learner, self.randomness)

    @torch.no_grad()
    def known(self, policy: FramePolicy, practice: Practice, *, rows: int) -> Float[Tensor, " row"]:
        """Return log-probabilities under a policy, without a gradient, so many rows at a time."""
        parts = torch.arange(len(practice), device=practice.episode.device).split(rows)
        found = [practice.rows(part).log_prob(policy.log_prob, self.randomness) for part in parts]
        return torch.cat(found)

    def move(self, loss: Tensor) -> float:
        """Move the weights along the gradient of a loss; return the gradient's norm."""
        self.learner.zero_grad()
        self.learner.backward(loss)
        return self.learner.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        first = {f"first/{n}": t.clone() for n, t in self.first.head.state_dict().items()}
        return super().state_dict() | first

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        own = {n.removeprefix("first/"): t for n, t in state.items() if n.startswith("first/")}
        self.first.head.load_state_dict(own)
