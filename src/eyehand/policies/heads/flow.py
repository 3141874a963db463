"""Policy head that lets noise flow to a chunk.

Flow matching (Lipman et al., 2023, https://arxiv.org/abs/2210.02747) as in pi0 (Black et al., 2024,
https://arxiv.org/abs/2410.24164, sec. IV): straight paths from noise to action, early times more
often in training, Euler steps at test. Differs from pi0: the network is a small perceptron
(Octo's), not a second transformer beside the language model.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from eyehand.functional.noise import euler, shifted_beta_time, straight_path
from eyehand.policies.heads.chunk import row_noise, rows_of
from eyehand.policies.heads.denoiser import Denoiser
from eyehand.policies.heads.limits import check_fields


@dataclass(frozen=True)
class FlowHeadConfig:
    """Flow matching over the chunk."""

    needs_history: ClassVar[bool] = False

    name: Literal["flow"] = "flow"
    """Name of the head in a checkpoint's config."""
    steps: int = 10
    """Euler steps at test."""
    dim: int = 512
    """Width of the network's residual stream."""
    depth: int = 3
    """Residual blocks."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no head."""
        check_fields(self, counts=("steps", "dim", "depth"))

    def build(self, dim: int, *, horizon: int, action_dim: int) -> "FlowHead":
        """Return the head for features of width ``dim``."""
        return FlowHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class FlowHead(nn.Module):
    """Velocity of a chunk, given a frame's feature.

    Args:
        dim: Width of a frame's feature.
        config: Sizes and steps.
        horizon: Actions per chunk.
        action_dim: Numbers per action.
    """

    def __init__(self, dim: int, *, config: FlowHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.steps, self.horizon, self.action_dim = config.steps, horizon, action_dim
        self.denoiser = Denoiser(
            dim, width=config.dim, depth=config.depth, horizon=horizon, action_dim=action_dim
        )

    def loss(
        self,
        feature: Float[Tensor, "batch history dim"],
        action: Float[Tensor, "batch history horizon action"],
        *,
        action_mask: Bool[Tensor, "batch history horizon"],
        history_mask: Bool[Tensor, "batch history"],
    ) -> dict[str, Tensor]:
        """Return the mean squared error of the velocity; actions in [-1, 1]."""
        rows, chunk, mask = rows_of(feature, action, action_mask & history_mask[..., None])
        time = shifted_beta_time(torch.rand(len(rows), device=rows.device))
        point, velocity = straight_path(torch.randn_like(chunk), chunk, time=time)
        error = (self.denoiser(point, time, rows) - velocity).square()
        return {"loss": (error * mask[..., None]).mean()}

    def act(
        self,
        feature: Float[Tensor, "batch history dim"],
        *,
        history_mask: Bool[Tensor, "batch history"],
        seed: Int64[Tensor, " batch"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the chunk that begins at the last frame, in [-1, 1]."""
        noise = row_noise(seed, horizon=self.horizon, action_dim=self.action_dim)
        chunk = euler(
            lambda point, time: self.denoiser(point, time, feature[:, -1]), noise, steps=self.steps
        )
        return chunk.clamp(-1, 1)
