"""What all ways to practise share: the policy that learns, the one it began as, and the rounds."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.experience import check_one_process
from eyehand.rl.practice import Practice
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.training.update import Update
from eyehand.types import check_ranges

Practise = Callable[[FramePolicy, int, float], Practice]
"""Lets a policy practise: the policy as it is, the number of the round, and how random it draws."""


@dataclass(frozen=True, kw_only=True)
class PractisingConfig:
    """What every way to practise has.

    Raises:
        InputError: If a number is out of its range.
    """

    randomness: float | None = None
    """How random chunks are drawn; left out, as the head says (`DrawingHead.randomness`)."""
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
            learning_rate=(0, 1),
            gradient_clip=(0, 10**6),
        )


class Practising(Update):
    """A policy whose head learns; its trunk stays as it is.

    Nothing is dropped out: the probability of what was drawn must be that of what is learnt.

    Args:
        policy: The policy as it begins.
        config: How it learns.
        practise: Makes a round of practice.

    Raises:
        InputError: If the head cannot say how probable an action is.
    """

    published = "policy/weights/"

    def __init__(self, policy: FramePolicy, config: PractisingConfig, practise: Practise) -> None:
        head = policy.drawing_head()
        self.policy, self.practise = policy.eval(), practise
        self.randomness = head.randomness if config.randomness is None else config.randomness
        self.first = copy.deepcopy(policy).requires_grad_(False)
        """The policy as practice began."""
        optimizer = torch.optim.Adam(policy.head.parameters(), lr=config.learning_rate)
        self.learner = Learner(
            policy, optimizer, method="log_prob", gradient_clip=config.gradient_clip
        )
        self.learners = {"policy": self.learner}
        self.device = torch.device("cpu")

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device; the trunk gets no gradient."""
        check_one_process(accelerator)
        for learner in self.learners.values():
            learner.prepare(accelerator, unused=True)
        self.device = accelerator.device
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
