"""Policy head that takes noise off a chunk, step by step.

Diffusion Policy (Chi et al., 2023, https://arxiv.org/abs/2303.04137): the network predicts the
noise in a chunk (DDPM, Ho et al., 2020, https://arxiv.org/abs/2006.11239; squared-cosine schedule),
and fewer steps are taken at test (DDIM, Song et al., 2021, https://arxiv.org/abs/2010.02502).
Differs from the paper: the network is Octo's small perceptron, not a U-net over time.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from eyehand.functional.noise import (
    add_noise,
    clean_from_noise,
    cosine_alpha_bar,
    visited_timesteps,
)
from eyehand.policies.heads.chunk import row_noise
from eyehand.policies.heads.contract import (
    ActionHeadConfig,
    FrameHead,
    RowChunk,
    RowFeature,
    RowMask,
    Seeds,
)
from eyehand.policies.heads.denoiser import SHORTEST, Denoiser
from eyehand.types import InputError


@dataclass(frozen=True)
class DiffusionHeadConfig(ActionHeadConfig):
    """Denoising diffusion over the chunk."""

    before: ClassVar[dict[str, Any]] = {"shortest_period": SHORTEST}

    name: Literal["diffusion"] = "diffusion"
    """Name of the head in a checkpoint's config."""
    training_steps: int = 100
    """Steps from action to noise in training."""
    steps: int = 10
    """Steps back at test, at most ``training_steps``."""
    dim: int = 512
    """Width of the network's residual stream."""
    depth: int = 3
    """Residual blocks."""
    shortest_period: float | None = None
    """Shortest wave in which the network reads how far the noise is, as a share of all steps; left
    out, four steps of training: faster waves cannot be told apart at whole steps."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        if self.steps > self.training_steps:
            raise InputError(
                f"DiffusionHeadConfig.steps must be <= training_steps={self.training_steps}; "
                f"got {self.steps}."
            )

    def build(
        self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1
    ) -> "DiffusionHead":
        """Return the head for features of width ``dim``."""
        return DiffusionHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class DiffusionHead(FrameHead):
    """Noise in a chunk, given a frame's feature.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    alpha_bar: Tensor

    def __init__(
        self, dim: int, *, config: DiffusionHeadConfig, horizon: int, action_dim: int
    ) -> None:
        super().__init__()
        self.config, self.horizon, self.action_dim = config, horizon, action_dim
        self.alpha_bar = cosine_alpha_bar(config.training_steps)
        self.denoiser = Denoiser(
            dim,
            width=config.dim,
            depth=config.depth,
            horizon=horizon,
            action_dim=action_dim,
            shortest=config.shortest_period or 4 / config.training_steps,
        )

    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return the mean squared error of the noise; actions in [-1, 1]."""
        step = torch.randint(self.config.training_steps, (len(feature),))
        noise = torch.randn_like(chunk)
        noisy = add_noise(chunk, noise, alpha_bar=self.alpha_bar[step].to(chunk.device))
        error = (self._noise(noisy, step, feature) - noise).square()
        return {"loss": (error * mask[..., None]).mean()}

    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return the chunk that begins at the frame."""
        chunk = row_noise(seed, horizon=self.horizon, action_dim=self.action_dim)
        visited = visited_timesteps(self.config.training_steps, self.config.steps)
        levels = [*self.alpha_bar[visited], torch.tensor(1.0)]
        for step, level, next_level in zip(visited, levels, levels[1:], strict=False):
            noise = self._noise(chunk, step.expand(len(chunk)), feature)
            clean = clean_from_noise(noise, chunk, alpha_bar=level, clip=True)
            chunk = add_noise(clean, noise, alpha_bar=next_level)
        return chunk

    def _noise(
        self,
        noisy: Float[Tensor, "row horizon action"],
        step: Int64[Tensor, " row"],
        feature: Float[Tensor, "row dim"],
    ) -> Float[Tensor, "row horizon action"]:
        time = step.to(noisy.device, torch.float32) / self.config.training_steps
        return self.denoiser(noisy, time, feature)
