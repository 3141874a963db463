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
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.picture import scale_image
from eyehand.models.language.gated_language_model import GatedLanguageModel
from eyehand.models.language.pretrained import load_language_model
from eyehand.models.registry import names_of
from eyehand.models.vision.eye import EyeTokens
from eyehand.models.vision.patch_encoder import PatchTokens
from eyehand.models.vision.pretrained import PretrainedVision, load_vision_model
from eyehand.nn.gated_attention import GatedCrossAttention
from eyehand.nn.resampler import Resampler, ResamplerLayer
from eyehand.policies.contract import Stages, evaluation_mode
from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.limits import DEEPEST, WIDEST
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.policies.look import ImportanceMap, attention_to_picture, watched
from eyehand.types import Observation, ParameterGroup, Statistics, check_ranges

GATES = "language.gates."
"""How the names of the gated cross-attention's weights begin."""
TOKEN_STEP = 16
"""When acting, sentences are padded to a multiple of so many tokens; nearly all fit in one."""


@dataclass(frozen=True)
class RoboFlamingoConfig(FramePolicyConfig):
    """Frozen language model with gated cross-attention, LSTM head (RoboFlamingo)."""

    name: ClassVar[str] = "roboflamingo"

    history: int = 8
    """Frames in a window; published 12."""
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
    every: int = 3
    """Gated cross-attention stands before every n-th block of the language model."""
    landmark_weight: float = 1.0
    """Weight of that auxiliary loss, which training alone reads (Jaderberg et al., 2017)."""
    head: HeadConfig = field(default_factory=LSTMHeadConfig)
    """Policy head."""

    def __post_init__(self) -> None:
        """Check that every number is in its range, and that the head fits."""
        super().__post_init__()
        check_ranges(
            self,
            prefix="RoboFlamingoConfig.",
            vision_dims=(1, WIDEST),
            dim=(1, WIDEST),
            depth=(1, DEEPEST),
            latents=(1, WIDEST),
            heads=(1, WIDEST),
            head_dim=(1, WIDEST),
            every=(1, DEEPEST),
        )

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
    if config.vision in names_of("classifier") and config.vision != "efficientnet-lite0":
        return EyeTokens(config.vision, image_size=config.image_size)
    return load_vision_model(config.vision, image_size=config.image_size)


class RoboFlamingo(FramePolicy):
    """Observation in, chunk out; see the module's first lines.

    Args:
        config: Sizes and parts.
        statistics: Of ``state`` and ``action`` over the training data.
    """

    Config: ClassVar[type[RoboFlamingoConfig]] = RoboFlamingoConfig
    eye_name: ClassVar[str] = "vision"
    looks: ClassVar[str] = "attention"
    config: RoboFlamingoConfig

    def __init__(self, config: RoboFlamingoConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__(config, statistics=statistics)
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
        self.head = self.build_head(self.language.dim + config.state_dim)
        if config.landmarks:
            self.to_landmarks = nn.Linear(self.language.dim, 2 * config.landmarks)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Weight decay is for the gated cross-attention alone, as in the published code."""
        rest = [name for name, _ in self.named_parameters() if not name.startswith(GATES)]
        return {"all but the cross-attention": ParameterGroup(rest, decay_scale=0.0)}

    def landmark_distance(
        self, found: Float[Tensor, "row dim"], places: Float[Tensor, "row landmark 2"]
    ) -> Float[Tensor, "row landmark 2"]:
        """Return Huber's loss of what a linear layer reads off each frame's feature."""
        guess = self.to_landmarks(found[..., : self.language.dim]).float()
        guess = rearrange(guess, "row (landmark xy) -> row landmark xy", xy=2)
        inside = (places.abs() <= 1).all(dim=-1, keepdim=True)
        return F.smooth_l1_loss(guess, places, beta=0.1, reduction="none") * inside

    @torch.inference_mode()
    def look(self, observation: Observation, *, word: int | None = None) -> ImportanceMap:
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
            self._features(observation.image, observation.state, [sentence], apart=False)
        cameras = len(self.config.cameras)
        return attention_to_picture(
            [weight[..., : weight.shape[-1] // cameras] for weight in words],
            latents[0][:1],
            tokens=self.language.tokens_of(sentence, word),
            grid=math.isqrt(self.vision.tokens),
        )

    def stages(self) -> Stages:
        """Return the resampler, which reads what the encoder saw, and the head."""
        return Stages(perceive=self.resampler, act=self.head)

    def encode(
        self,
        image: Mapping[str, UInt8[Tensor, "row height width 3"]],
        state: Float32[Tensor, "row state"],
        sentences: Sequence[str],
        *,
        apart: bool,
    ) -> tuple[Float[Tensor, "row dim"], Float[Tensor, "row dim"]]:
        """Return the feature, for the head and for the landmarks."""
        config = self.config
        tokens = torch.stack(
            [self.vision(scale_image(image[camera])) for camera in config.cameras], dim=1
        )
        latents = self.resampler(self.to_token(tokens) + self.position)
        context = rearrange(latents, "row camera latent dim -> row (camera latent) dim")
        fuse = self._fuse_apart if apart else self._fuse
        state = self.units.normalize_state(state)
        feature = torch.cat([fuse(sentences, context), state], dim=-1)
        return feature, feature

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
