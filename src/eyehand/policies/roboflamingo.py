"""RoboFlamingo: a frozen language model looks at every frame, and a head acts.

Li et al., 2023, https://arxiv.org/abs/2311.01378, on Flamingo (Alayrac et al., 2022,
https://arxiv.org/abs/2204.14198): vision encoder, perceiver resampler, frozen language model with
gated cross-attention, max-pool over the text's tokens, policy head. Differs from the paper:
1. The vision encoder is small and trained from scratch unless a pretrained one is named.
2. The state is an input of the head, and the head gives a chunk of actions; by default it reads a
   single frame.
3. Tokens of the vision encoder get Fourier features of their places, and the resampler an embedding
   per camera.
4. Gates begin open, attention begins sharp, and a gated layer stands behind the last block, so that
   the picture reaches the feature from the first step on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, cast

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
from eyehand.models.vision.patch_encoder import CellTokens
from eyehand.models.vision.pretrained import PretrainedVision, load_vision_model
from eyehand.nn.fourier import MOST_OCTAVES, fourier_features
from eyehand.nn.gated_attention import GatedCrossAttention
from eyehand.nn.keypoint import heat_map_loss
from eyehand.nn.resampler import Resampler, ResamplerLayer
from eyehand.policies.contract import Stages, evaluation_mode
from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.limits import DEEPEST, WIDEST
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.policies.look import ImportanceMap, attention_to_picture, watched
from eyehand.types import InputError, Observation, ParameterGroup, Statistics, check_ranges

GATES = "language.gates."
"""How the names of the gated cross-attention's weights begin."""
SHARPER, STRONGER = 10.0, 3.0
"""Of the first queries of attention, and of what gated cross-attention adds at first."""
ATTENTION_WEIGHT = 0.1
"""Of the landmarks' loss on the attention, beside the one on the feature."""
FAINTEST = 1e-6
"""Attention is at least so large before its logarithm is taken."""
TOKEN_STEP = 16
"""When acting, sentences are padded to a multiple of so many tokens; nearly all fit in one."""


class Found(NamedTuple):
    """Where a frame's landmarks can be read."""

    fused: Float[Tensor, "row text_dim"]
    """The pooled text."""
    attention: Float[Tensor, "medium head latent key"]
    """What the first layer of the resampler attends to."""


@dataclass(frozen=True)
class RoboFlamingoConfig(FramePolicyConfig):
    """Frozen language model with gated cross-attention (RoboFlamingo)."""

    name: ClassVar[str] = "roboflamingo"

    history: int = 1
    """Frames in a window; published 12."""
    vision: str = "small"
    """Vision encoder: small or another network by its name, such as resnet18, trained from scratch;
    or pretrained and frozen: efficientnet-lite0, timm:NAME or transformers:NAME."""
    vision_dims: tuple[int, int, int] = (64, 128, 256)
    """Channels of the small encoder's maps, from fine to coarse."""
    dim: int = 128
    """Width of the visual tokens after the encoder."""
    depth: int = 1
    """Layers of the resampler; published 6."""
    latents: int = 32
    """Visual tokens per camera after the resampler; published 64."""
    heads: int = 4
    """Attention heads of resampler and gated cross-attention; published 8."""
    head_dim: int = 32
    """Width of one attention head."""
    every: int = 6
    """Gated cross-attention stands before every n-th block of the language model."""
    gate: float = 1.0
    """What the gates start at, before the tanh; published 0, which protects a text generator."""
    octaves: int = 4
    """Fourier features of the tokens' places and of the state."""
    trained: Literal["adapters", "head", "all"] = "adapters"
    """What learns: resampler, gates, head and the small vision encoder; the head alone; or the
    language model's blocks behind the first gate as well: with ``every`` 6 one of MiniLM's six."""
    landmark_weight: float = 1.0
    """Weight of that auxiliary loss, which training alone reads (Jaderberg et al., 2017)."""
    head: HeadConfig = field(default_factory=MLPHeadConfig)
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
            gate=(-WIDEST, WIDEST),
            octaves=(0, MOST_OCTAVES),
        )
        if self.landmarks > self.latents:
            raise InputError(
                f"RoboFlamingoConfig.landmarks must be at most latents={self.latents}; "
                f"got {self.landmarks}."
            )

    @classmethod
    def upgrade(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an older checkpoint.

        Raises:
            InputError: If it is from before the network was rebuilt.
        """
        if "octaves" not in description:
            raise InputError(
                "this RoboFlamingo was trained by a version of eyehand whose network was another "
                "one, and cannot be loaded; train it anew."
            )
        return super().upgrade(description)

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
            head_dim=64,
            language=language,
            every=every,
            gate=0.0,
            head=LSTMHeadConfig(dim=1024, depth=4, dims=(1024, 512, 256)),
        )


def _vision(config: RoboFlamingoConfig) -> CellTokens | EyeTokens | PretrainedVision:
    if config.vision == "small":
        return CellTokens(config.vision_dims, dim=config.dim, image_size=config.image_size)
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
    eye_name = "vision"
    looks = "attention"
    config: RoboFlamingoConfig
    places: Tensor

    def __init__(self, config: RoboFlamingoConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__(config, statistics=statistics)
        self.vision = _vision(config)
        own = isinstance(self.vision, CellTokens)
        self.to_token = nn.Sequential(
            nn.Identity() if own else nn.Linear(self.vision.dim, config.dim),
            nn.LayerNorm(config.dim),
        )
        self.side = math.isqrt(self.vision.tokens)
        self.first_cell = self.vision.tokens - self.side**2  # a class token stands before the cells
        self.register_buffer("places", self._places(), persistent=False)
        self.to_position = nn.Linear(self.places.shape[-1], config.dim)
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
            gate=config.gate,
            last=True,
            frozen=config.trained != "all",
        )
        self._let_the_picture_through()
        waves = 1 + 2 * config.octaves
        self.head = self.build_head(self.language.dim + config.state_dim * waves)
        if config.landmarks:
            self.to_landmarks = nn.Linear(self.language.dim, 2 * config.landmarks)

    def _places(self) -> Float[Tensor, "token waves"]:
        """Return the Fourier features of every token's place; 0 for tokens that have none."""
        line = torch.linspace(-1, 1, self.side)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
        waves = fourier_features(grid, octaves=self.config.octaves)
        return F.pad(waves, (0, 0, self.first_cell, 0))

    @torch.no_grad()
    def _let_the_picture_through(self) -> None:
        """Sharpen queries and strengthen what gates add, so that scenes differ in the feature.

        With torch's usual weights attention begins at 99 % of its largest entropy: every latent is
        the mean of the picture, and 1 % of its differences reaches the feature.
        """
        layers = cast("list[ResamplerLayer]", list(self.resampler.layers))
        gates = cast("list[GatedCrossAttention]", list(self.language.gates))
        resampled, gated = [layer.attention for layer in layers], [g.attention for g in gates]
        for attention in [*resampled, *gated]:
            attention.to_query.weight.mul_(SHARPER)
        for attention in gated:
            attention.to_output.weight.mul_(STRONGER)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Weight decay is for the gated cross-attention alone, as in the published code."""
        rest = [name for name, _ in self.named_parameters() if not name.startswith(GATES)]
        return {"all but the cross-attention": ParameterGroup(rest, decay_scale=0.0)}

    def landmark_distance(
        self, found: Found, places: Float[Tensor, "row landmark 2"]
    ) -> Float[Tensor, "row landmark 2"]:
        """Return Huber's loss of what is read off the pooled text, and the attention's loss."""
        guess = self.to_landmarks(found.fused).float()
        guess = rearrange(guess, "row (landmark xy) -> row landmark xy", xy=2)
        inside = (places.abs() <= 1).all(dim=-1, keepdim=True)
        read = F.smooth_l1_loss(guess, places, beta=0.1, reduction="none") * inside
        heat = self._heat(found.attention)
        return read + ATTENTION_WEIGHT * heat_map_loss(heat, places)[..., None]

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
            latents[0][:1, ..., self.first_cell :],
            tokens=self.language.tokens_of(sentence, word),
            grid=self.side,
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
    ) -> tuple[Float[Tensor, "row dim"], Found]:
        """Return the feature, and where landmarks can be read."""
        config = self.config
        tokens = torch.stack(
            [self.vision(scale_image(image[camera])) for camera in config.cameras], dim=1
        )
        tokens = self.to_token(tokens) + self.to_position(self.places)
        first = cast("ResamplerLayer", self.resampler.layers[0])
        with watched([first.attention]) as weights:
            latents = self.resampler(tokens)
        context = rearrange(latents, "row camera latent dim -> row (camera latent) dim")
        fuse = self._fuse_apart if apart else self._fuse
        state = self.units.normalize_state(state)
        fused = fuse(sentences, context)
        attention = weights[0]
        if config.trained == "head":
            fused, attention = fused.detach(), attention.detach()
        feature = torch.cat([fused, fourier_features(state, octaves=config.octaves)], dim=-1)
        return feature, Found(fused, attention)

    def _heat(
        self, weight: Float[Tensor, "medium head latent key"]
    ) -> Float[Tensor, "row landmark height width"]:
        """Return the logarithm of the first latents' attention to the first camera's cells."""
        first = weight[:: len(self.config.cameras), :, : self.config.landmarks]
        mean = first[..., self.first_cell : self.vision.tokens].float().mean(dim=1)
        return rearrange((mean + FAINTEST).log(), "b q (h w) -> b q h w", h=self.side)

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
