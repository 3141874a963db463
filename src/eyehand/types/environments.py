"""What algorithms that learn by doing see of the worlds they learn in."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor

EnvironmentStep = tuple[
    Float32[np.ndarray, "env observation"],
    Float32[np.ndarray, " env"],
    Bool[np.ndarray, " env"],
    Bool[np.ndarray, " env"],
]
"""What came of a step: what is seen then; rewards; whether the task ended, well or badly; and
whether the episode was cut short."""


@runtime_checkable
class Environments(Protocol):
    """Several environments of one kind, side by side.

    Observations are numbers. Actions are numbers of which [-1, 1] spans the environment's range, or
    the number of an action.
    """

    action_space: Any
    """A bounded `gymnasium.spaces.Box` or a `gymnasium.spaces.Discrete`."""
    observation_dim: int
    """Numbers in an observation."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def begin(self, which: int, seed: int) -> Float32[np.ndarray, " observation"]:
        """Begin an episode, which the seed decides, in one of them; return what is seen first."""
        ...

    def step(self, actions: Tensor) -> EnvironmentStep:
        """Act in all of them.

        Args:
            actions: [env, action] numbers, of which those beyond [-1, 1] are clipped, or [env]
                numbers of actions.
        """
        ...

    def outcome(self, which: int) -> Mapping[str, float]:
        """Return what the episode came to so far, by name, beside its return; often nothing."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` needs to go on in the middle of the episodes."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> Float32[np.ndarray, "env observation"]:
        """Restore what `state_dict` returned; return what is seen."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
