"""What every policy and its config have, beyond the protocols in :mod:`eyehand.types`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.policies.normalization import Normalization
from eyehand.types import ActionChunk, Batch, Observation


@runtime_checkable
class PolicyConfig(Protocol):
    """Every policy's config is a frozen dataclass with at least these fields."""

    name: ClassVar[str]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras that it reads."""

    @property
    def image_size(self) -> int:
        """Height and width of the pictures, in pixels."""

    @property
    def state_dim(self) -> int:
        """Numbers in a state."""

    @property
    def action_dim(self) -> int:
        """Numbers in an action."""

    @property
    def horizon(self) -> int:
        """Actions per chunk."""

    @property
    def history(self) -> int:
        """Frames in a training window."""

    @property
    def history_stride(self) -> int:
        """Steps between the frames of a window: actions executed per plan at test time."""


class PolicyModule(nn.Module, ABC):
    """A network that is an `Actor` and `Trainable` (:mod:`eyehand.types`) and knows its config."""

    looks: ClassVar[str]
    """By what `look` tells where it looks: attention or saliency."""
    perceives: ClassVar[str]
    """Name of the submodule that runs last of those that read the picture alone."""
    config: PolicyConfig
    units: Normalization
    """Statistics of its training data."""

    @property
    def cameras(self) -> dict[str, int]:
        """Height and width of the pictures that it reads, pixels, by camera."""
        return dict.fromkeys(self.config.cameras, self.config.image_size)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalar losses; the one to minimise is named ``"loss"``."""

    @abstractmethod
    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the next actions of every robot, in the environment's units."""

    @abstractmethod
    def look(
        self, observation: Observation, *, word: int | None = None
    ) -> Float[Tensor, "batch row column"]:
        """Return which parts of the first camera's picture count, or count for one word."""

    @abstractmethod
    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget what these robots saw."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch dropout off inside, whatever the mode, and set the mode back after.

    Example:
        >>> layer = nn.Dropout()
        >>> with evaluation_mode(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    training = module.training
    if training:
        module.eval()
    try:
        yield
    finally:
        if training:
            module.train()
