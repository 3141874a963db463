"""RoboFlamingo: a frozen language model looks at every frame, and a head with memory acts.

Li et al., 2023, https://arxiv.org/abs/2311.01378, on Flamingo (Alayrac et al., 2022,
https://arxiv.org/abs/2204.14198): vision encoder, perceiver resampler, frozen language model with
gated cross-attention, max-pool over the text's tokens, policy head. Differs from the paper:
1. The vision encoder is small and trained from scratch unless a pretrained one is named.
2. The state is an input of the head, and the head gives a chunk of actions.
3. Tokens of the vision encoder get a learned position, and the resampler an embedding per camera.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.picture import scale_image
from eyehand.models.language.gated_language_model import GatedLanguageModel
from eyehand.models.language.pretrained import load_language_model
from eyehand.models.vision.eye import EyeTokens
from eyehand.models.vision.patch_encoder import STRIDES, PatchTokens
from eyehand.models.vision.pretrained import PretrainedVision, load_vision_model
from eyehand.models.vision.registry import NETWORKS
from eyehand.nn.gated_attention import GatedCrossAttention
from eyehand.nn.resampler import Resampler, ResamplerLayer
from eyehand.policies.contract import PolicyModule, evaluation_mode
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.registry import HeadConfig, check_history
from eyehand.policies.inputs import check_inputs, row_seeds
from eyehand.policies.look import Look, attention_to_picture, watched
from eyehand.policies.memory import FeatureMemory
from eyehand.policies.normalization import Normalization
from eyehand.types import (
    ActionChunk,
    Batch,
    InputError,
    Observation,
    ParameterGroup,
    Statistics,
)

GATES = "language.gates."
"""How the names of the gated cross-attention's weights begin."""
TOKEN_STEP = 16
"""When acting, sentences are padded to a multiple of so many tokens; nearly all fit in one."""


@dataclass(frozen=True)
class RoboFlamingoConfig:
    """Frozen language model with gated cross-attention, LSTM head (RoboFlamingo)."""

    name: ClassVar[str] = "roboflamingo"

    cameras: tuple[str, ...] = ("corner4",)
    """Cameras that it reads; one encoder and one resampler serve all."""
    image_size: int = 96
    """Height and width of the pictures; a multiple of 16 for the small encoder."""
    state_dim: int = 4
    """Numbers in a state."""
    action_dim: int = 4
    """Numbers in an action; the last is the gripper."""
    horizon: int = 16
    """Actions per chunk."""
    history: int = 8
    """Frames in a window; published 12."""
    history_stride: int = 4
    """Steps between the frames of a window; at test time execute as many actions per plan."""
    vision: str = "small"
    """Vision encoder: small or another network by its name, such as resnet18, trained from scratch;
    or pretrained and frozen: efficientnet-lite0, timm:NAME or transformers:NAME."""
    vision_dims: tuple[int, int, int] = (64, 128, 256)
    """Channels of the small encoder's maps, from fine to coarse."""
    dim: int = 256
    """Width of the visual tokens after the encoder."""
    depth: int = 2
    """Layers of the resampler; published 6."""
    latents: int = 16
    """Visual tokens per camera after the resampler; published 64."""
    heads: int = 4
    """Attention heads of resampler and gated cross-attention; published 8."""
    head_dim: int = 64
    """Width of one attention head."""
    language: str = "minilm"
    """Frozen language model: minilm, smollm2 or transformers:NAME."""
    every: int = 3
    """Gated cross-attention stands before every n-th block of the language model."""
    landmarks: int = 0
    """A linear layer on each frame's feature is taught where so many landmarks are; 0 where the
    data has none."""
    landmark_weight: float = 1.0
    """Weight of that auxiliary loss, which training alone reads (Jaderberg et al., 2017)."""
    head: HeadConfig = field(default_factory=LSTMHeadConfig)
    """Policy head."""

    def __post_init__(self) -> None:
        """Refuse what makes no network."""
        if not self.cameras:
            raise InputError("RoboFlamingoConfig.cameras must name at least one camera; got none.")
        if self.vision == "small" and (self.image_size < 1 or self.image_size % STRIDES[-1]):
            raise InputError(
                f"RoboFlamingoConfig.image_size must be a multiple of {STRIDES[-1]} for the small "
                f"vision encoder; got {self.image_size}."
            )
        if self.history < 1 or self.history_stride < 1:
            raise InputError(
                "RoboFlamingoConfig.history and history_stride must be >= 1; "
                f"got {self.history} and {self.history_stride}."
            )
        check_history(self)

    @classmethod
    def published(cls, *, vision: str, language: str, every: int) -> "RoboFlamingoConfig":
        """Return the sizes of the paper; the pretrained parts and their spacing differ by model.

        Example:
            >>> RoboFlamingoConfig.published(
            ...     vision="transformers:openai/clip-vit-large-patch14",
            ...     language="transformers:some/language-model",
            ...     every=4,
            ... ).latents
            64
        """
        return cls(
            image_size=224,
            horizon=1,
            history=12,
            history_stride=1,
            vision=vision,
            dim=1024,
            depth=6,
            latents=64,
            heads=8,
            language=language,
            every=every,
            head=LSTMHeadConfig(dim=1024, depth=4, dims=(1024, 512, 256)),
        )


def _vision(config: RoboFlamingoConfig) -> PatchTokens | EyeTokens | PretrainedVision:
    if config.vision == "small":
        return PatchTokens(config.vision_dims, image_size=config.image_size)
    if config.vision in NETWORKS and config.vision != "efficientnet-lite0":
        return EyeTokens(config.vision, image_size=config.image_size)
    return load_vision_model(config.vision, image_size=config.image_size)


class RoboFlamingo(PolicyModule):
    """Observation in, chunk out; see the module's first lines.

    The features of the last ``history`` frames are kept per robot, and the head reads them anew at
    every step: the same computation as on a window in training.

    Args:
        config: Sizes and parts.
        statistics: Of ``state`` and ``action`` over the training data.
    """

    Config: ClassVar[type[RoboFlamingoConfig]] = RoboFlamingoConfig
    looks: ClassVar[str] = "attention"
    perceives: ClassVar[str] = "resampler"
    config: RoboFlamingoConfig

    def __init__(self, config: RoboFlamingoConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__()
        self.config = config
        self.units = Normalization(
            statistics, state_dim=config.state_dim, action_dim=config.action_dim
        )
        self.vision = _vision(config)
        self.to_token = nn.Linear(self.vision.dim, config.dim)
        self.position = nn.Parameter(0.02 * torch.randn(self.vision.tokens, config.dim))
        self.resampler = Resampler(
            config.dim,
            depth=config.depth,
            heads=config.heads,
            head_dim=config.head_dim,
            latents=config.latents,
            media=len(config.cameras),
        )
        self.language = GatedLanguageModel(
            *load_language_model(config.language),
            every=config.every,
            context_dim=config.dim,
            heads=config.heads,
            head_dim=config.head_dim,
        )
        self.head = config.head.build(
            self.language.dim + config.state_dim,
            horizon=config.horizon,
            action_dim=config.action_dim,
        )
        if config.landmarks:
            self.to_landmarks = nn.Linear(self.language.dim, 2 * config.landmarks)
        self._memory = FeatureMemory(config.history)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Weight decay is for the gated cross-attention alone, as in the published code."""
        rest = [name for name, _ in self.named_parameters() if not name.startswith(GATES)]
        return {"all but the cross-attention": ParameterGroup(rest, decay_scale=0.0)}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts, the mean over every frame of every window."""
        size, history = batch.history_mask.shape
        if history != self.config.history:
            raise InputError(
                f"windows have {history} frames, the policy was made for {self.config.history}."
            )
        feature = self._feature(
            {
                camera: rearrange(image, "b t h w c -> (b t) h w c")
                for camera, image in batch.image.items()
            },
            rearrange(batch.state, "b t d -> (b t) d"),
            [sentence for sentence in batch.instruction for _ in range(history)],
            apart=False,
        )
        feature = rearrange(feature, "(b t) d -> b t d", b=size)
        losses = self.head.loss(
            feature,
            self.units.normalize_action(batch.action),
            action_mask=batch.action_mask,
            history_mask=batch.history_mask,
        )
        if self.config.landmarks == 0 or batch.landmarks is None:
            return losses
        found = self.to_landmarks(feature[..., : self.language.dim]).float()
        found = rearrange(found, "b t (landmark xy) -> b t landmark xy", xy=2)
        wanted = batch.landmarks[..., :2]
        inside = (wanted.abs() <= 1).all(dim=-1) & batch.history_mask[..., None]
        distance = F.smooth_l1_loss(found, wanted, beta=0.1, reduction="none")
        landmark = (distance * inside[..., None]).mean()
        total = losses["loss"] + self.config.landmark_weight * landmark
        return losses | {"loss": total, "landmark": landmark}

    @torch.inference_mode()
    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the next actions of every robot, in the environment's units."""
        with evaluation_mode(self):
            feature = self._feature(
                observation.image,
                observation.state,
                observation.instruction,
                apart=True,
            )
            window, mask = self._memory.remember(feature, observation.env_ids)
            seed = row_seeds(observation.state, generator)
            action = self.head.act(window, history_mask=mask, seed=seed)
        return self.units.restore_action(action)

    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget what these robots saw."""
        self._memory.forget(env_ids)

    @torch.inference_mode()
    def look(self, observation: Observation, *, word: int | None = None) -> Look:
        """Return how much the sentence attends to each part of the first camera's picture.

        Args:
            observation: As for `act`, one robot; memory is not touched.
            word: Ask for this word of the sentence instead of all.
        """
        (sentence,) = observation.instruction
        gates = cast("list[GatedCrossAttention]", list(self.language.gates))
        last = cast("ResamplerLayer", self.resampler.layers[-1])
        self.language.count_tokens(sentence)  # read before anybody watches
        with (
            evaluation_mode(self),
            watched([gate.attention for gate in gates]) as words,
            watched([last.attention]) as latents,
        ):
            self._feature(observation.image, observation.state, [sentence], apart=False)
        cameras = len(self.config.cameras)
        return attention_to_picture(
            [weight[..., : weight.shape[-1] // cameras] for weight in words],
            latents[0][:1],
            tokens=self.language.tokens_of(sentence, word),
            grid=math.isqrt(self.vision.tokens),
        )

    def _feature(
        self,
        image: Mapping[str, UInt8[Tensor, "row height width 3"]],
        state: Float[Tensor, "row state"],
        sentences: Sequence[str],
        *,
        apart: bool,
    ) -> Float[Tensor, "row dim"]:
        config = self.config
        check_inputs(
            image,
            state,
            cameras=config.cameras,
            image_size=config.image_size,
            state_dim=config.state_dim,
        )
        tokens = torch.stack(
            [self.vision(scale_image(image[camera])) for camera in config.cameras], dim=1
        )
        latents = self.resampler(self.to_token(tokens) + self.position)
        context = rearrange(latents, "row camera latent dim -> row (camera latent) dim")
        fuse = self._fuse_apart if apart else self._fuse
        return torch.cat([fuse(sentences, context), self.units.normalize_state(state)], dim=-1)

    def _fuse(
        self,
        sentences: Sequence[str],
        context: Float[Tensor, "row latent dim"],
        length: int | None = None,
    ) -> Float[Tensor, "row text_dim"]:
        """Return the maximum over every row's text tokens."""
        text, mask = self.language(sentences, context, length=length)
        return text.float().masked_fill(~mask[..., None], -torch.inf).amax(dim=1)

    def _fuse_apart(
        self, sentences: Sequence[str], context: Float[Tensor, "row latent dim"]
    ) -> Float[Tensor, "row text_dim"]:
        """Do the same, to the last bit independent of what the other rows are told.

        Sums are rounded as the shapes have it. So sentences are padded to a multiple of a fixed
        step, and for every length all rows run; those of another length only keep their places.
        """
        lengths = [
            math.ceil(self.language.count_tokens(sentence) / TOKEN_STEP) * TOKEN_STEP
            for sentence in sentences
        ]
        fused = context.new_empty(len(context), self.language.dim)
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            heard = [
                sentence if own == length else sentences[rows[0]]
                for sentence, own in zip(sentences, lengths, strict=True)
            ]
            fused[rows] = self._fuse(heard, context, length)[rows]
        return fused
