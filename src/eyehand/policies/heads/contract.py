"""What every action head and its config promise."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from eyehand.policies.heads.chunk import hold_last
from eyehand.policies.heads.limits import check_fields

Features = Float[Tensor, "batch history dim"]
"""What is seen and told at every frame of a window; the last frame is the present."""
Chunks = Float[Tensor, "batch history horizon action"]
"""The labels that begin at each frame, in [-1, 1]."""
ChunkMask = Bool[Tensor, "batch history horizon"]
"""False where a label is padding after an episode's end."""
FrameMask = Bool[Tensor, "batch history"]
"""False where a frame is padding before an episode's start: it counts for nothing."""
Memory = Float[Tensor, "batch history memory"]
"""What a head knows at each frame: of itself, and of those before it."""
Chunk = Float[Tensor, "batch horizon action"]
"""The chunk that begins at the last frame, in [-1, 1]."""
RowFeature = Float[Tensor, "row dim"]
"""What is seen and told at a frame, for every frame of every window."""
RowChunk = Float[Tensor, "row horizon action"]
"""The chunk that begins at each of these frames."""
RowMask = Bool[Tensor, "row horizon"]
"""False where an action of a row's chunk is padding, and everywhere in a frame that is."""
Seeds = Int64[Tensor, " batch"]
"""Decides what a row draws."""


class ActionHead(nn.Module, ABC):
    """Features and their history in, chunk out; actions are in [-1, 1]."""

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Learn from chunks of the data what does not come from gradients, such as a vocabulary.

        Training calls it once, before the first step. Most heads have nothing of the kind.
        """

    @abstractmethod
    def loss(
        self, feature: Features, action: Chunks, *, action_mask: ChunkMask, history_mask: FrameMask
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame, as a policy's ``loss`` does."""

    @abstractmethod
    def act(self, feature: Features, *, history_mask: FrameMask, seed: Seeds) -> Chunk:
        """Return the chunk that begins at the last frame; ``seed`` decides what a row draws."""


class DrawingHead(ActionHead):
    """A head that can draw chunks at random and say how probable what was executed of them was.

    Learning by doing needs it (:mod:`eyehand.rl.practice`): imitation and acting do not. How random
    the draws are is told with every call, since it is no part of the network: the standard
    deviation of a Gaussian, the noise level of a flow, the temperature of tokens.
    """

    randomness: ClassVar[float]
    """How random draws are where nothing else is said: a little, so that most still succeed."""

    @abstractmethod
    def draw(
        self, feature: Features, *, history_mask: FrameMask, seed: Seeds, randomness: float
    ) -> tuple[Chunk, Tensor]:
        """Draw a chunk that begins at the last frame.

        Args:
            feature: What is seen and told at every frame of a window.
            history_mask: False where a frame is padding.
            seed: Decides what a row draws, whatever rows are beside it.
            randomness: How random, above 0.

        Returns:
            The chunk, in [-1, 1]; and the sample that it was made from, which `log_prob` reads: one
            row each.
        """

    @abstractmethod
    def log_prob(
        self,
        feature: Features,
        sample: Tensor,
        *,
        history_mask: FrameMask,
        executed: RowMask,
        randomness: float,
    ) -> Float[Tensor, " batch"]:
        """Return the log-probability of what was executed of the chunks that `draw` drew.

        Args:
            feature: As `draw` read it.
            sample: As `draw` returned it.
            history_mask: As `draw` read it.
            executed: Which actions of each chunk were executed: the others count for nothing, but
                where they had an influence on those that were.
            randomness: As `draw` was told.
        """


@dataclass(frozen=True)
class ActionHeadConfig(ABC):
    """A head's sizes; a head adds its fields, among them ``name``, by which it is found."""

    needs_history: ClassVar[bool] = False
    """Whether it reads several frames."""
    before: ClassVar[dict[str, Any]] = {}
    """Values of fields in checkpoints that were written when the head had no such field."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_fields(self)

    @abstractmethod
    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> ActionHead:
        """Return the head.

        Args:
            dim: Width of a frame's feature.
            horizon: Actions per chunk.
            action_dim: Numbers per action.
            gripper: How many of them, the last ones, are grippers. Heads that regress train those
                by another loss; to the others all numbers are the same.
        """

    def check_horizon(self, horizon: int) -> None:  # noqa: B027
        """Raise an `InputError` if there is no such head for chunks of ``horizon`` actions."""


class FrameHead(ActionHead):
    """A head that reads one frame: what came before it does not count."""

    @abstractmethod
    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return ``loss`` and its parts; after an episode's end a chunk holds its last action."""

    @abstractmethod
    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return a chunk; what is beyond [-1, 1] is clipped after."""

    def loss(
        self, feature: Features, action: Chunks, *, action_mask: ChunkMask, history_mask: FrameMask
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame; actions in [-1, 1]."""
        mask = action_mask & history_mask[..., None]
        rows = (part.flatten(0, 1) for part in (feature, hold_last(action, mask), mask))
        return self.row_loss(*rows)

    def act(self, feature: Features, *, history_mask: FrameMask, seed: Seeds) -> Chunk:
        """Return the chunk that begins at the last frame, in [-1, 1]."""
        return self.row_act(feature[:, -1], seed).clamp(-1, 1)
