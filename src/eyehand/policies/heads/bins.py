"""Policy head that says each number of an action as one of 256 words.

RT-1 (Brohan et al., 2022, https://arxiv.org/abs/2212.06817), RT-2 (2023,
https://arxiv.org/abs/2307.15818) and OpenVLA (Kim et al., 2024, https://arxiv.org/abs/2406.09246):
every dimension is cut into equal bins between quantiles of the data, and bins are decoded token by
token, the likeliest each time. Differs from the papers:
1. The decoder is a small transformer of its own, not the language model.
2. A chunk of actions is decoded, not one: horizon times action_dim tokens, step by step.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from eyehand.nn.quantizer import UniformQuantizer, quantile_bounds
from eyehand.policies.heads.chunk import row_generators
from eyehand.policies.heads.contract import (
    Chunk,
    DrawingHead,
    Features,
    FrameHead,
    FrameMask,
    RowChunk,
    RowFeature,
    RowMask,
    Seeds,
)
from eyehand.policies.heads.limits import WIDEST
from eyehand.policies.heads.token_decoder import TokenHeadConfig
from eyehand.types import check_ranges


@dataclass(frozen=True)
class BinsHeadConfig(TokenHeadConfig):
    """Bins of every dimension, decoded as tokens."""

    name: Literal["bins"] = "bins"
    """Name of the head in a checkpoint's config."""
    bins: int = 256
    """Bins of a dimension."""
    tail: float = 0.01
    """Share of the labels below the lowest and above the highest bin, which are clipped."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(self, prefix="BinsHeadConfig.", bins=(2, WIDEST))

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "BinsHead":
        """Return the head for features of width ``dim``."""
        return BinsHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class BinsHead(FrameHead, DrawingHead):
    """Tokens of a chunk, given a frame's feature.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    randomness = 1.0
    """The temperature: 1 draws as often as the network says."""

    def __init__(self, dim: int, *, config: BinsHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon = horizon
        one = torch.ones(action_dim)
        self.quantizer = UniformQuantizer(-one, one, bins=config.bins)
        self.decoder = config.build_decoder(dim, vocabulary=config.bins)

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Set the bounds of the bins by chunks of the data, in [-1, 1]."""
        rows = rearrange(action, "n h a -> (n h) a")
        low, high = quantile_bounds(rows, tail=self.config.tail)
        self.quantizer.low.copy_(low)
        self.quantizer.high.copy_(high)

    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return the cross-entropy, nats per number; actions in [-1, 1]."""
        tokens = self.quantizer.encode(chunk)
        logits = self.decoder(feature, rearrange(tokens, "n h a -> n (h a)"))
        entropy = F.cross_entropy(
            rearrange(logits, "n token v -> n v token"),
            rearrange(tokens, "n h a -> n (h a)"),
            reduction="none",
        )
        entropy = rearrange(entropy, "n (h a) -> n h a", h=self.horizon)
        return {"loss": (entropy * mask[..., None]).mean()}

    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return the chunk that begins at the frame."""
        length = self.horizon * len(self.quantizer.low)
        tokens = self.decoder.generate(feature, length=length)
        return self.quantizer.decode(rearrange(tokens, "n (h a) -> n h a", h=self.horizon))

    def draw(
        self, feature: Features, *, history_mask: FrameMask, seed: Seeds, randomness: float
    ) -> tuple[Chunk, Tensor]:
        """Draw tokens at the temperature ``randomness``; see `DrawingHead.draw`."""
        length = self.horizon * len(self.quantizer.low)
        generators = row_generators(seed)

        def choose(logits: Float[Tensor, "batch vocabulary"]) -> Int64[Tensor, " batch"]:
            """Draw by the Gumbel trick: the largest of logits with noise."""
            uniform = torch.stack([torch.rand(logits.shape[1], generator=g) for g in generators])
            gumbel = -(-uniform.clamp_min(1e-20).log()).log().to(logits)
            return (logits / randomness + gumbel).argmax(dim=-1)

        tokens = self.decoder.generate(feature[:, -1], length=length, choose=choose)
        chunk = self.quantizer.decode(rearrange(tokens, "n (h a) -> n h a", h=self.horizon))
        return chunk.clamp(-1, 1), tokens

    def log_prob(
        self,
        feature: Features,
        sample: Tensor,
        *,
        history_mask: FrameMask,
        executed: RowMask,
        randomness: float,
    ) -> Float[Tensor, " batch"]:
        """Return the log-probability of the executed actions' tokens, which come first."""
        logits = self.decoder(feature[:, -1], sample) / randomness
        found = logits.log_softmax(dim=-1).gather(-1, sample[..., None])[..., 0]
        every = rearrange(found, "n (h a) -> n h a", h=self.horizon).sum(dim=-1)
        return (every * executed).sum(dim=-1)
