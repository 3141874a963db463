"""How a chunk of actions is executed: how many of them, and whether averaged over chunks."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.functional.ensembling import temporal_ensemble
from eyehand.types import InputError, check_ranges

MOST_STEPS, MOST_DECAY = 1000, 1e6
"""Actions of a chunk; how fast weights decay, where 1000 is at once in single precision."""


@dataclass(frozen=True)
class Execution:
    """How a chunk of actions is executed."""

    steps: int = 4
    """Actions executed before the policy plans again."""
    temporal_ensembling: float | None = None
    """Average each action with those that earlier chunks planned for the same moment; this is how
    fast the weights decay from the oldest to the newest (ACT: 0.01, with ``steps`` 1). ``None``
    switches it off."""

    def __post_init__(self) -> None:
        """Check that the numbers are in range."""
        check_ranges(
            self, prefix="--execution.", steps=(1, MOST_STEPS), temporal_ensembling=(0, MOST_DECAY)
        )


class Plan:
    """The chunks of one episode, and which of their actions are executed when."""

    def __init__(self, execution: Execution, *, action_dim: int) -> None:
        self.execution, self.action_dim = execution, action_dim
        self._chunks: deque[tuple[int, Tensor]] = deque()
        """Past chunks with the step each began at, oldest first."""

    def next_actions(
        self, chunk: Float[Tensor, "horizon action"], *, step: int
    ) -> Float32[np.ndarray, "time action"]:
        """Return the next actions of ``chunk``, clipped to [-1, 1], after ``step`` executed ones.

        Raises:
            InputError: If the chunk is shorter than ``execution.steps``, has actions of another
                width, or is not finite.
        """
        horizon, action_dim = chunk.shape
        steps = self.execution.steps
        if action_dim != self.action_dim or horizon < steps:
            raise InputError(
                f"the policy plans {horizon} actions of {action_dim} numbers; at least {steps} "
                f"(`steps` of Execution) of {self.action_dim} are needed."
            )
        if not torch.isfinite(chunk).all():
            raise InputError(
                f"the policy's actions are not finite at step {step}: its weights are damaged, or "
                "its training diverged."
            )
        decay = self.execution.temporal_ensembling
        if decay is None:
            return np.clip(chunk[:steps].numpy(), -1, 1)
        self._chunks.append((step, chunk))
        while self._chunks[0][0] + horizon <= step:
            self._chunks.popleft()
        averaged = [
            temporal_ensemble(
                torch.stack([c[at - begun] for begun, c in self._chunks if at - begun < horizon]),
                decay=decay,
            )
            for at in range(step, step + steps)
        ]
        return np.clip(torch.stack(averaged).numpy(), -1, 1)
