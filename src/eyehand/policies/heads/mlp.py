"""Policy head without memory: each frame's feature alone decides the chunk that begins there."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyehand.policies.heads.regression import regression_loss
from eyehand.types import InputError


@dataclass(frozen=True)
class MLPHeadConfig:
    """A multi-layer perceptron on the present frame's feature."""

    name: Literal["mlp"] = "mlp"
    """Name of the head in a checkpoint's config."""
    dims: tuple[int, ...] = (1024, 512)
    """Widths of the hidden layers."""
    dropout: float = 0.0
    """Probability that a hidden number is dropped in training."""
    huber_delta: float = 0.1
    """Where the motion's loss turns from square to linear, in normalised units; small is L1."""
    gripper_weight: float = 0.1
    """Weight of the gripper's cross-entropy beside the motion's loss."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no head."""
        if not self.dims or min(self.dims) < 1:
            raise InputError(f"MLPHeadConfig.dims must be positive widths; got {self.dims}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"MLPHeadConfig.dropout must be in [0, 1); got {self.dropout}.")
        if self.huber_delta <= 0:
            raise InputError(f"MLPHeadConfig.huber_delta must be > 0; got {self.huber_delta}.")

    def build(self, dim: int, *, horizon: int, action_dim: int) -> "MLPHead":
        """Return the head for features of width ``dim``."""
        return MLPHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class MLPHead(nn.Module):
    """Linear layers with ReLU, then one number per step and action dimension.

    Args:
        dim: Width of a frame's feature.
        config: Widths and loss.
        horizon: Actions per chunk.
        action_dim: Numbers per action; the last is the gripper.
    """

    def __init__(self, dim: int, *, config: MLPHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon = horizon
        widths = (dim, *config.dims)
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.to_action = nn.Linear(widths[-1], horizon * action_dim)

    def loss(
        self,
        feature: Float[Tensor, "batch history dim"],
        action: Float[Tensor, "batch history horizon action"],
        *,
        action_mask: Bool[Tensor, "batch history horizon"],
        history_mask: Bool[Tensor, "batch history"],
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame; actions in [-1, 1]."""
        output = self._output(feature)
        return regression_loss(
            output[..., :-1],
            output[..., -1],
            action,
            action_mask & history_mask[..., None],
            huber_delta=self.config.huber_delta,
            gripper_weight=self.config.gripper_weight,
        )

    def act(
        self,
        feature: Float[Tensor, "batch history dim"],
        *,
        history_mask: Bool[Tensor, "batch history"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the chunk that begins at the last frame, in [-1, 1]."""
        output = self._output(feature[:, -1:])[:, 0]
        gripper = 2 * output[..., -1:].sigmoid() - 1
        return torch.cat([output[..., :-1].clamp(-1, 1), gripper], dim=-1)

    def _output(
        self, feature: Float[Tensor, "batch history dim"]
    ) -> Float[Tensor, "batch history horizon action"]:
        output = self.to_action(self.layers(feature)).float()
        return rearrange(output, "b t (h a) -> b t h a", h=self.horizon)
