"""What ways to practise share: a policy that acts in rounds, of which the next one learns."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from eyehand.policies.contract import DrawingPolicy
from eyehand.policies.frame_policy import FramePolicy
from eyehand.rl.experience import check_one_process
from eyehand.rl.practice import Practice
from eyehand.training.config import TrainBatch
from eyehand.training.update import Update
from eyehand.types import check_ranges

Practise = Callable[[Any, int, float], Practice]
"""Lets a policy practise: the policy as it is, the number of the round, and how random it draws."""


@dataclass(frozen=True, kw_only=True)
class PractisingConfig:
    """What every way to practise has.

    Raises:
        InputError: If a number is out of its range.
    """

    learning_rate: float = 1e-4
    """Peak rate of Adam."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            prefix=f"{type(self).__name__}.",
            learning_rate=(0, 1),
            gradient_clip=(0, 10**6),
        )


class Practising(Update):
    """A policy that practises, of which a part learns.

    Nothing is dropped out: what is learnt must be what acted.

    Args:
        policy: The policy that practises, as `policy_of` returned it.
        config: How it learns.
        practise: Makes a round of practice.
    """

    published = "policy/weights/"

    def __init__(self, policy: DrawingPolicy, config: PractisingConfig, practise: Practise) -> None:
        self.policy, self.config, self.practise = policy.eval(), config, practise
        self.rounds = 0
        """Rounds done."""
        self.device = torch.device("cpu")

    @classmethod
    @abstractmethod
    def policy_of(cls, policy: FramePolicy, config: Any, *, executed: int) -> DrawingPolicy:
        """Return the policy that practises, in place of the one that was loaded.

        Args:
            policy: What was loaded.
            config: How it will learn.
            executed: Actions executed of every chunk.

        Raises:
            InputError: If it cannot practise so.
        """

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device."""
        check_one_process(accelerator)
        for learner in self.learners.values():
            learner.prepare(accelerator, unused=True)
        self.device = accelerator.device

    def next_round(self, randomness: float) -> Practice:
        """Practise by the policy as it is."""
        practice = self.practise(self.policy, self.rounds, randomness)
        self.rounds += 1
        return practice.to(self.device)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        return super().state_dict() | {"rounds": torch.tensor(self.rounds)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.rounds = int(state["rounds"])
