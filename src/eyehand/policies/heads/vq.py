"""Policy head that names a learned code for the whole chunk, then corrects it.

VQ-BeT (Lee et al., 2024, https://arxiv.org/abs/2403.03181): an autoencoder with a residual vector
quantizer (van den Oord et al., 2017, https://arxiv.org/abs/1711.00937) learns codes of chunks; the
policy classifies the code and regresses an offset to what the code decodes to. Differs from the
paper:
1. Autoencoder and policy learn at the same time, not one after the other: the codes settle early.
2. The second code is classified given the first one, and the offset given the codes.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.nn.perceptron import Perceptron
from eyehand.nn.quantizer import ResidualQuantizer, VectorQuantizer
from eyehand.policies.heads.chunk import row_generators
from eyehand.policies.heads.contract import (
    ActionHeadConfig,
    FrameHead,
    RowChunk,
    RowFeature,
    RowMask,
    Seeds,
)
from eyehand.policies.heads.limits import WIDEST
from eyehand.types import check_ranges


@dataclass(frozen=True)
class VQHeadConfig(ActionHeadConfig):
    """Codes of whole chunks, and an offset."""

    name: Literal["vq"] = "vq"
    """Name of the head in a checkpoint's config."""
    codes: int = 16
    """Codes of one codebook, at least 2."""
    depth: int = 2
    """Codebooks, each for what those before left over."""
    code_dim: int = 64
    """Width of a code."""
    dims: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of autoencoder, classifier and offset."""
    offset_weight: float = 10.0
    """Weight of the offset's loss beside the cross-entropy of the codes."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(self, prefix="VQHeadConfig.", codes=(2, WIDEST))

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "VQHead":
        """Return the head for features of width ``dim``."""
        return VQHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class VQHead(FrameHead):
    """Codes and offset of a chunk, given a frame's feature.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: VQHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon = horizon
        numbers, width = horizon * action_dim, config.dims[-1]
        self.encoder = nn.Sequential(
            Perceptron(numbers, config.dims), nn.Linear(width, config.code_dim)
        )
        self.quantizer = ResidualQuantizer(config.code_dim, depth=config.depth, codes=config.codes)
        self.decoder = nn.Sequential(
            Perceptron(config.code_dim, config.dims), nn.Linear(width, numbers)
        )
        self.layers = Perceptron(dim, config.dims)
        self.to_code = nn.ModuleList(
            nn.Linear(width + config.code_dim, config.codes) for _ in range(config.depth)
        )
        self.to_offset = nn.Sequential(
            Perceptron(width + config.code_dim, (width,)), nn.Linear(width, numbers)
        )

    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return the losses of autoencoder, codes and offset; actions in [-1, 1]."""
        real = mask.any(dim=1)  # padding before an episode has no chunk and must teach no code
        feature, chunk, mask, share = feature[real], chunk[real], mask[real], real.float().mean()
        quantized, codes, code_loss, vectors = self.quantizer(
            self.encoder(rearrange(chunk, "n h a -> n (h a)")).float()
        )
        decoded = self._chunk(self.decoder(quantized))
        hidden, chosen = self.layers(feature), torch.zeros_like(vectors[:, 0])
        entropy = torch.zeros((), device=feature.device)
        for layer, to_code in enumerate(self.to_code):
            logits = to_code(torch.cat([hidden, chosen], dim=-1)).float()
            entropy = entropy + F.cross_entropy(logits, codes[:, layer])
            # Not looked up again: the codebook has moved since, and dead codes are other vectors.
            chosen = chosen + vectors[:, layer]
        offset = self._chunk(self.to_offset(torch.cat([hidden, chosen], dim=-1)))
        weight = mask[..., None].float()
        reconstruction = ((decoded - chunk).abs() * weight).mean()
        correction = ((offset - (chunk - decoded).detach()).abs() * weight).mean()
        losses = {
            "reconstruction": reconstruction + code_loss,
            "code": entropy,
            "offset": correction,
        }
        total = losses["reconstruction"] + entropy + self.config.offset_weight * correction
        return {name: value * share for name, value in (losses | {"loss": total}).items()}

    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return the chunk that begins at the frame; its codes are drawn."""
        hidden, generators = self.layers(feature), row_generators(seed)
        chosen = hidden.new_zeros(len(hidden), self.config.code_dim)
        for layer, to_code in enumerate(self.to_code):
            probability = to_code(torch.cat([hidden, chosen], dim=-1)).float().softmax(dim=-1).cpu()
            code = torch.cat(
                [
                    torch.multinomial(row, 1, generator=generator)
                    for row, generator in zip(probability, generators, strict=True)
                ]
            ).to(hidden.device)
            chosen = chosen + cast("VectorQuantizer", self.quantizer.layers[layer]).decode(code)
        offset = self.to_offset(torch.cat([hidden, chosen], dim=-1))
        return self._chunk(self.decoder(chosen) + offset)

    def _chunk(self, flat: Float[Tensor, "row number"]) -> Float[Tensor, "row horizon action"]:
        return rearrange(flat.float(), "n (h a) -> n h a", h=self.horizon)
