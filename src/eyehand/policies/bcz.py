"""BC-Z style policy: a small convolutional encoder that the sentence modulates, chunked regression.

After Jang et al., 2022, https://arxiv.org/abs/2202.02005: FiLM conditioned on a frozen sentence
embedding, then a multi-layer perceptron. Differs from the paper:
1. The encoder is a patch stem with two strided convolutions, made for a CPU, unless another one,
   such as the paper's ResNet-18, is named.
2. Spatial soft-argmax keypoints, asked for by the sentence, are read beside the flattened map:
   objects are a few pixels large.
3. Proprioception is an input, and the chunk of actions is absolute in time, not a set of waypoints.
4. State and keypoints are read as Fourier features, and where the data has landmarks the first
   keypoints are taught where they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.picture import scale_image
from eyehand.models.language.pretrained import load_language_model
from eyehand.models.language.sentence_encoder import SentenceEncoder
from eyehand.models.vision.eye import Eye
from eyehand.models.vision.patch_encoder import STRIDES, PatchEncoder
from eyehand.nn.film import FiLM
from eyehand.nn.fourier import MOST_OCTAVES, fourier_features
from eyehand.nn.keypoint import heat_map_loss, spatial_soft_argmax
from eyehand.policies.contract import Stages, evaluation_mode
from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.limits import DEEPEST, WIDEST
from eyehand.policies.look import ImportanceMap, saliency
from eyehand.types import InputError, Observation, Statistics, check_ranges


@dataclass(frozen=True)
class BCZConfig(FramePolicyConfig):
    """FiLM-conditioned convolutional encoder and chunked regression (BC-Z)."""

    name: ClassVar[str] = "bcz"

    context_dim: int = 128
    """Width of the sentence's vector after a first layer."""
    dims: tuple[int, int, int] = (64, 128, 256)
    """Channels of the small encoder's maps, from fine to coarse."""
    blocks: int = 1
    """Modulated residual blocks on the coarse map."""
    keypoints: int = 32
    """Heat maps per camera whose positions are read."""
    octaves: int = 4
    """Fourier features of the state and of the keypoints; 0 gives the numbers alone."""
    map_dim: int = 32
    """Channels of the coarse map when it is flattened."""

    def __post_init__(self) -> None:
        """Check that every number is in its range: landmarks are taught to heat maps."""
        super().__post_init__()
        check_ranges(
            self,
            prefix="BCZConfig.",
            context_dim=(1, WIDEST),
            dims=(1, WIDEST),
            blocks=(0, DEEPEST),
            keypoints=(1, WIDEST),
            octaves=(0, MOST_OCTAVES),
            map_dim=(1, WIDEST),
        )
        if self.blocks and self.dims[-1] < 2:
            raise InputError(
                f"BCZConfig.dims must end in at least 2: a block has half of it; got {self.dims}."
            )
        if self.landmarks > self.keypoints:
            raise InputError(
                f"BCZConfig.landmarks must be at most keypoints={self.keypoints}; "
                f"got {self.landmarks}."
            )


class BCZ(FramePolicy):
    """Observation in, chunk out; see the module's first lines.

    Args:
        config: Sizes and parts.
        statistics: Of ``state`` and ``action`` over the training data.
    """

    Config: ClassVar[type[BCZConfig]] = BCZConfig
    eye_name = "encoder"
    looks = "saliency"
    config: BCZConfig

    def __init__(self, config: BCZConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__(config, statistics=statistics)
        self.sentence = SentenceEncoder(*load_language_model(config.language))
        self.to_context = nn.Sequential(nn.Linear(self.sentence.dim, config.context_dim), nn.ReLU())
        encoder: PatchEncoder | Eye
        if config.vision == "small":
            encoder = PatchEncoder(config.dims)
            cells = (config.image_size // STRIDES[-1]) ** 2
        else:
            encoder = Eye(config.vision, image_size=config.image_size)
            cells = math.prod(encoder.cells)
        self.encoder = encoder
        context_dim, dims = config.context_dim, encoder.dims
        coarse_dim = dims[-1]
        self.film = FiLM(coarse_dim, context_dim=context_dim)
        self.blocks = nn.ModuleList(
            ModulatedBlock(coarse_dim, context_dim=context_dim) for _ in range(config.blocks)
        )
        self.keypoints = SentenceKeypoints(config.keypoints, dims=dims, context_dim=context_dim)
        self.reduce = nn.Conv2d(coarse_dim, config.map_dim, kernel_size=1)
        waves = 1 + 2 * config.octaves
        camera_dim = config.map_dim * cells + 2 * config.keypoints * waves
        dim = len(config.cameras) * camera_dim + config.state_dim * waves + context_dim
        self.head = self.build_head(dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's gap

    def landmark_distance(
        self,
        found: Float[Tensor, "row keypoint height width"],
        places: Float[Tensor, "row landmark 2"],
    ) -> Float[Tensor, "row landmark 1"]:
        """Return the cross-entropy of the first heat maps of the first camera."""
        return heat_map_loss(found[:, : self.config.landmarks], places)[..., None]

    def look(self, observation: Observation, *, word: int | None = None) -> ImportanceMap:
        """Return which parts of the first camera's picture the present frame's feature depends on.

        Args:
            observation: As for `act`; memory is not touched.
            word: Ask for the effect of this word of every sentence instead.
        """

        def feature(sentences: Sequence[str]) -> Float[Tensor, "row dim"]:
            return self._features(observation.image, observation.state, sentences, apart=True)[0]

        with evaluation_mode(self):
            return saliency(self.encoder, feature, observation.instruction, word=word)

    def stages(self) -> Stages:
        """Return the encoder and the head."""
        return Stages(perceive=self.encoder, act=self.head)

    def encode(
        self,
        image: Mapping[str, Tensor],
        state: Float32[Tensor, "row state"],
        sentences: Sequence[str],
        *,
        apart: bool,
    ) -> tuple[Float[Tensor, "row dim"], Float[Tensor, "row keypoint height width"]]:
        """Return what the head reads, and the heat maps of the first camera.

        Sentences are encoded one by one, so rows are always ``apart``.
        """
        config = self.config
        context = self.to_context(self.sentence(sentences))
        state = self.units.normalize_state(state)
        parts = [fourier_features(state, octaves=config.octaves), context]
        heat_maps = []
        for camera in config.cameras:
            *finer, coarse = self.encoder(scale_image(image[camera]))
            coarse = F.relu(self.film(coarse, context))
            for block in self.blocks:
                coarse = block(coarse, context)
            parts.append(rearrange(self.reduce(coarse), "b c h w -> b (c h w)"))
            heat_maps.append(self.keypoints([*finer, coarse], context))
            places = rearrange(spatial_soft_argmax(heat_maps[-1]), "b k xy -> b (k xy)")
            parts.append(fourier_features(places, octaves=config.octaves))
        return torch.cat([part.float() for part in parts], dim=-1), heat_maps[0]


class ModulatedBlock(nn.Module):
    """Residual block whose inner channels the sentence modulates (BC-Z, fig. 3)."""

    def __init__(self, dim: int, *, context_dim: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(dim, dim // 2, kernel_size=1)
        self.film = FiLM(dim // 2, context_dim=context_dim)
        self.widen = nn.Conv2d(dim // 2, dim, kernel_size=3, padding=1)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(cast("Tensor", self.widen.bias))

    def forward(
        self,
        x: Float[Tensor, "batch dim height width"],
        context: Float[Tensor, "batch context_dim"],
    ) -> Float[Tensor, "batch dim height width"]:
        """Add what the modulated convolutions find."""
        return x + self.widen(F.relu(self.film(self.narrow(x), context)))


class SentenceKeypoints(nn.Module):
    """Positions that the sentence asks for: heat maps by queries made from it.

    Modulating the fine map and projecting it to heat maps would cost a pass over the largest map.
    The two are one linear map of each cell, so the sentence gives that map itself. The coarser maps
    add what surrounds a cell, at a quarter and a sixteenth of the cost.

    Args:
        keypoints: Number of heat maps.
        dims: Channels of the maps, from fine to coarse.
        context_dim: Width of the sentence's vector.
    """

    def __init__(self, keypoints: int, *, dims: Sequence[int], context_dim: int) -> None:
        super().__init__()
        self.to_queries = nn.ModuleList(nn.Linear(context_dim, keypoints * dim) for dim in dims)

    def forward(
        self,
        maps: Sequence[Float[Tensor, "batch _ _ _"]],
        context: Float[Tensor, "batch context_dim"],
    ) -> Float[Tensor, "batch keypoint height width"]:
        """Return each keypoint's heat map, before the softmax, on the cells of the finest map."""
        heat_maps = []
        for to_query, feature in zip(self.to_queries, maps, strict=True):
            # Channels stay last in the product: so does its gradient, as the convolutions want it.
            cells = rearrange(feature, "b c h w -> b (h w) c")
            query = rearrange(to_query(context), "b (c k) -> b c k", c=feature.shape[1])
            heat = torch.bmm(cells, query)
            heat = rearrange(heat, "b (h w) k -> b k h w", h=feature.shape[2])
            heat_maps.append(heat)
        *finer, total = heat_maps
        for heat in reversed(finer):  # from coarse to fine: each map is enlarged only to the next
            total = heat + F.interpolate(total, size=heat.shape[-2:])
        return total
