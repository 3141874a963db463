"""What policies share that make one feature of every frame and let a head act on the last ones."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from eyehand.functional.names import unknown_name
from eyehand.models.vision.patch_encoder import STRIDES
from eyehand.policies.contract import DrawingPolicy, Drawn, PolicyConfig, evaluation_mode
from eyehand.policies.heads.contract import ActionHead, Chunk, DrawingHead
from eyehand.policies.heads.limits import WIDEST
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HEADS, HeadConfig, check_head_fits
from eyehand.policies.inputs import check_inputs, row_seeds
from eyehand.policies.memory import FeatureMemory
from eyehand.policies.normalization import Normalization
from eyehand.types import ActionChunk, Batch, InputError, Observation, Statistics, check_ranges

WINDOW = 12
"""Frames that a head with memory is given where the config has single ones (RoboFlamingo)."""
MOST_WEIGHT = 1e6
"""Of a loss beside another one."""
FEATURE = "feature"
"""Entry of ``Batch.extra`` for features that were computed before: then the head alone learns."""


@dataclass(frozen=True)
class FramePolicyConfig(PolicyConfig):
    """A frozen language model, a vision encoder, landmarks that are taught, and a head."""

    parts: ClassVar[Mapping[str, Collection[str]]] = {"head": tuple(HEADS)}
    acting: ClassVar[tuple[str, ...]] = ("head.steps",)

    language: str = "minilm"
    """Frozen language model: minilm, smollm2 or transformers:NAME."""
    vision: str = "small"
    """Vision encoder: small, or a network by its name, such as resnet18; trained from scratch."""
    landmarks: int = 0
    """Points of the data whose place in the picture is taught on the way; 0 where it has none."""
    landmark_weight: float = 0.1
    """Weight of that auxiliary loss, which training alone reads (Jaderberg et al., 2017)."""
    head: HeadConfig = field(default_factory=MLPHeadConfig)
    """Policy head."""

    def __post_init__(self) -> None:
        """Check that every number is in its range, and that the head fits."""
        super().__post_init__()
        kind = type(self).__name__
        check_ranges(
            self, prefix=f"{kind}.", landmarks=(0, WIDEST), landmark_weight=(0, MOST_WEIGHT)
        )
        if self.vision == "small" and self.image_size % STRIDES[-1]:
            raise InputError(
                f"{kind}.image_size must be a multiple of {STRIDES[-1]} for the "
                f"small vision encoder; got {self.image_size}."
            )
        check_head_fits(self)

    @classmethod
    def upgrade(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an older checkpoint; a head says what it was without a field."""
        match description:
            case {"head": {"name": str(name), **sizes}} if name in HEADS:
                head = {"name": name, **HEADS[name].before, **sizes}
                return {**description, "head": head}
        return dict(description)

    def choose(self, part: str, name: str) -> PolicyConfig:
        """Return the config with another head at its default sizes.

        A head with memory gets `WINDOW` frames where the config has one, a head without gets one.

        Raises:
            InputError: If there is no such head.
        """
        if part not in self.parts:
            return super().choose(part, name)
        if name not in HEADS:
            raise InputError(unknown_name("head", name, HEADS))
        head, history = HEADS[name](), 1
        if head.needs_history:
            history = WINDOW if self.history == 1 else self.history
        return replace(self, head=head, history=history)


class FramePolicy(DrawingPolicy):
    """A feature of every frame, a memory of the last ones, and a head that acts on them.

    The features of the last ``history`` frames are kept per robot, and the head reads them anew at
    every step: the same computation as on a window in training. A policy builds its encoder and its
    ``head``, and says how it encodes.

    Args:
        config: Sizes and parts.
        statistics: Of ``state`` and ``action`` over the training data.
    """

    config: FramePolicyConfig
    head: ActionHead
    feature_dim: int
    """Width of a frame's feature."""

    def __init__(self, config: FramePolicyConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__()
        self.config = config
        self.units = Normalization(
            statistics, state_dim=config.state_dim, action_dim=config.action_dim
        )
        self._memory = FeatureMemory(config.history)

    @abstractmethod
    def encode(
        self,
        image: Mapping[str, UInt8[Tensor, "row height width 3"]],
        state: Float32[Tensor, "row state"],
        sentences: Sequence[str],
        *,
        apart: bool,
    ) -> tuple[Float[Tensor, "row dim"], Any]:
        """Return what the head reads of every frame, and what `landmark_distance` reads.

        Args:
            image: One picture a row, by camera.
            state: Proprioception, in the environment's units.
            sentences: What each row is told.
            apart: Let a row be the same to the last bit whatever the other rows are told.
        """

    @abstractmethod
    def landmark_distance(
        self, found: Any, places: Float[Tensor, "row landmark 2"]
    ) -> Float[Tensor, "row landmark number"]:
        """Return how far off the landmarks are found; 0 for those outside the picture.

        Args:
            found: As `encode` returned it.
            places: Where they are: x to the right and y down, -1 to 1 inside the picture.
        """

    def build_head(self, dim: int) -> ActionHead:
        """Return a new head for features of width ``dim``."""
        config, self.feature_dim = self.config, dim
        return config.head.build(
            dim, horizon=config.horizon, action_dim=config.action_dim, gripper=config.gripper
        )

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Show the head chunks of the data, in the environment's units."""
        self.head.fit(self.units.normalize_action(action))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts, the mean over every frame of every window.

        Where the batch has the frames' features (``Batch.extra["feature"]``), pictures are not
        looked at, and only the head gets a gradient.
        """
        size, history = batch.history_mask.shape
        if history != self.config.history:
            raise InputError(
                f"windows have {history} frames, the policy was made for {self.config.history}."
            )
        if FEATURE in batch.extra:
            return self._head_loss(batch.extra[FEATURE], batch)
        feature, found = self._features(
            {
                camera: rearrange(image, "b t h w c -> (b t) h w c")
                for camera, image in batch.image.items()
            },
            rearrange(batch.state, "b t d -> (b t) d"),
            [sentence for sentence in batch.instruction for _ in range(history)],
            apart=False,
        )
        losses = self._head_loss(rearrange(feature, "(b t) d -> b t d", b=size), batch)
        if self.config.landmarks == 0 or batch.landmarks is None:
            return losses
        places = rearrange(batch.landmarks[..., :2], "b t landmark xy -> (b t) landmark xy")
        real: Bool[Tensor, "row 1 1"] = rearrange(batch.history_mask, "b t -> (b t) 1 1")
        landmark = (self.landmark_distance(found, places) * real).mean()
        total = losses["loss"] + self.config.landmark_weight * landmark
        return losses | {"loss": total, "landmark": landmark}

    def _head_loss(
        self, feature: Float[Tensor, "batch history dim"], batch: Batch
    ) -> dict[str, Tensor]:
        return self.head.loss(
            feature,
            self.units.normalize_action(batch.action),
            action_mask=batch.action_mask,
            history_mask=batch.history_mask,
        )

    @torch.inference_mode()
    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the next actions of every robot, in the environment's units."""
        return self.units.restore_action(self.plan(observation, generator=generator)[1])

    @torch.inference_mode()
    def plan(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "row dim"], Chunk]:
        """Return the feature of the present frame, and the next actions in [-1, 1]."""
        with evaluation_mode(self):
            feature, _ = self._features(
                observation.image, observation.state, observation.instruction, apart=True
            )
            window, mask = self._memory.remember(feature, observation.env_ids)
            seed = row_seeds(observation.state, generator)
            return feature, self.head.act(window, history_mask=mask, seed=seed)

    @torch.inference_mode()
    def draw(
        self, observation: Observation, *, seed: Int64[Tensor, " row"], randomness: float
    ) -> tuple[ActionChunk, Drawn]:
        """Draw the next actions of every robot at random; return what `log_prob` reads of them.

        Args:
            observation: As of `act`.
            seed: Decides what a row draws.
            randomness: How random, above 0, and what the sample is; see `DrawingHead`.

        Raises:
            InputError: If the head cannot say how probable an action is.
        """
        head = self.drawing_head()
        with evaluation_mode(self):
            feature, _ = self._features(
                observation.image, observation.state, observation.instruction, apart=True
            )
            window, mask = self._memory.remember(feature, observation.env_ids)
            action, sample = head.draw(window, history_mask=mask, seed=seed, randomness=randomness)
        return self.units.restore_action(action), Drawn(window, mask, sample)

    def log_prob(
        self, drawn: Drawn, executed: Bool[Tensor, "row horizon"], randomness: float
    ) -> Float[Tensor, " row"]:
        """Return the log-probability of what was executed of chunks that `draw` drew."""
        return self.drawing_head().log_prob(
            drawn.feature,
            drawn.sample,
            history_mask=drawn.history_mask,
            executed=executed,
            randomness=randomness,
        )

    def drawing_head(self) -> DrawingHead:
        """Return the head.

        Raises:
            InputError: If it cannot say how probable an action is.
        """
        if not isinstance(self.head, DrawingHead):
            raise InputError(
                f"the head {self.config.head.name!r} cannot say how probable an action is, so it "
                "cannot learn by doing. Heads that can: mlp, mlp_history, lstm, gpt, flow, bins; "
                "residual SAC corrects the actions of any."
            )
        return self.head

    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget what these robots saw."""
        self._memory.forget(env_ids)

    def _features(
        self,
        image: Mapping[str, UInt8[Tensor, "row height width 3"]],
        state: Float32[Tensor, "row state"],
        sentences: Sequence[str],
        *,
        apart: bool,
    ) -> tuple[Float[Tensor, "row dim"], Any]:
        """Return what `encode` does, of inputs that fit the config."""
        config = self.config
        check_inputs(
            image,
            state,
            cameras=config.cameras,
            image_size=config.image_size,
            state_dim=config.state_dim,
        )
        return self.encode(image, state, sentences, apart=apart)
