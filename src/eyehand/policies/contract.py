"""What every policy and its config have, beyond the protocols in :mod:`eyehand.types`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from eyehand.policies.heads.limits import WIDEST
from eyehand.policies.look import ImportanceMap
from eyehand.policies.normalization import Normalization
from eyehand.types import (
    LARGEST_SIDE,
    ActionChunk,
    Batch,
    InputError,
    Observation,
    check_ranges,
)

LONGEST = 1000
"""Most steps of a chunk or a window: an episode has fewer."""


@dataclass(frozen=True)
class PolicyConfig:
    """Fields of every policy's config; a policy adds its own."""

    name: ClassVar[str]
    """Name of the policy in a checkpoint's config."""
    parts: ClassVar[Mapping[str, Collection[str]]] = {}
    """Fields that hold a part with sizes of its own: name of the field to names of such parts."""
    acting: ClassVar[tuple[str, ...]] = ()
    """Fields, with dots, that training does not depend on: the same weights serve every value."""

    cameras: tuple[str, ...] = ("corner4",)
    """Cameras that it reads; one encoder serves all."""
    image_size: int = 96
    """Height and width of the pictures, pixels; a multiple of 16 for the small encoder."""
    state_dim: int = 4
    """Numbers in a state."""
    action_dim: int = 4
    """Numbers in an action."""
    gripper: int = 1
    """How many numbers of an action, the last ones, are grippers, which heads that regress train as
    open or closed; 0 for a robot without."""
    horizon: int = 16
    """Actions per chunk."""
    history: int = 1
    """Frames in a window, for policies with memory; each costs as much as the first."""
    history_stride: int = 4
    """Steps between the frames of a window; at test time execute as many actions per plan."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        kind = type(self).__name__
        if not self.cameras:
            raise InputError(f"{kind}.cameras must name at least one camera; got none.")
        check_ranges(
            self,
            prefix=f"{kind}.",
            image_size=(1, LARGEST_SIDE),
            state_dim=(0, WIDEST),
            action_dim=(1, WIDEST),
            horizon=(1, LONGEST),
            history=(1, LONGEST),
            history_stride=(1, LONGEST),
        )
        if not 0 <= self.gripper <= self.action_dim:
            raise InputError(
                f"{kind}.gripper must be at least 0 and at most action_dim={self.action_dim}; "
                f"got {self.gripper}."
            )

    def description(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def upgrade(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that a checkpoint of an older version describes, in today's terms."""
        return dict(description)

    def for_data(
        self, *, cameras: Sequence[str], state_dim: int, action_dim: int, landmarks: int
    ) -> "PolicyConfig":
        """Return the config for a data set; landmarks count for policies that have such a field."""
        found: dict[str, Any] = {
            "cameras": tuple(cameras),
            "state_dim": state_dim,
            "action_dim": action_dim,
            "landmarks": landmarks,
        }
        known = {field.name for field in fields(self)}
        return replace(self, **{name: value for name, value in found.items() if name in known})

    def choose(self, part: str, name: str) -> "PolicyConfig":
        """Return the config with another part at its default sizes.

        Args:
            part: A field of `parts`.
            name: The part's name.

        Raises:
            InputError: If there is no such part.
        """
        raise InputError(f"{self.name} has no {part} to choose; it got {name!r}.")


class Stages(NamedTuple):
    """What is timed apart when a policy acts. What runs between the two brings all together."""

    perceive: nn.Module
    """The part that runs last of those that read the picture alone."""
    act: nn.Module
    """The part that makes actions: a head, a decoder of tokens, a denoiser."""


class PolicyModule(nn.Module, ABC):
    """A network that is an `Actor` and `Trainable` (:mod:`eyehand.types`) and knows its config."""

    eye_name: str
    """Name of the submodule that takes the pictures."""
    looks: str
    """By what `look` tells where it looks: attention or saliency."""
    config: PolicyConfig
    units: Normalization
    """Statistics of its training data."""

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Learn from chunks of the data what does not come from gradients, such as a vocabulary.

        Training calls it once, before the first step. Most policies have nothing of the kind.

        Args:
            action: Chunks in the environment's units.
        """

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
    def look(self, observation: Observation, *, word: int | None = None) -> ImportanceMap:
        """Return which parts of the first camera's picture count, or count for one word."""

    @abstractmethod
    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget what these robots saw."""

    @abstractmethod
    def stages(self) -> Stages:
        """Return the parts whose time is told apart."""


@dataclass(frozen=True)
class Drawn:
    """Chunks that were drawn at random, a row each, and what learning from them reads."""

    feature: Float[Tensor, "row history dim"]
    """What they were drawn from."""
    history_mask: Bool[Tensor, "row history"]
    """False where a frame was padding."""
    sample: Tensor
    """What was drawn, a row each; what it means is the policy's affair."""


class DrawingPolicy(PolicyModule):
    """A policy that can act not always alike, and remembers what it drew: it can practise."""

    @abstractmethod
    def draw(
        self, observation: Observation, *, seed: Int64[Tensor, " row"], randomness: float
    ) -> tuple[ActionChunk, Drawn]:
        """Draw the next actions of every robot at random.

        Args:
            observation: As of `act`.
            seed: Decides what a row draws, whatever rows are beside it.
            randomness: How random.

        Returns:
            The actions, in the environment's units; and what learning from them reads.

        Raises:
            InputError: If the policy cannot draw.
        """


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
