"""Policy head with memory: an LSTM over the features of the last frames, then a perceptron.

RoboFlamingo's best head (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378). Differs from
the paper: it gives a chunk of actions, not one.
"""

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
class LSTMHeadConfig:
    """An LSTM over the history of features."""

    name: Literal["lstm"] = "lstm"
    """Name of the head in a checkpoint's config."""
    dim: int = 256
    """Width of the LSTM; published 1024."""
    depth: int = 2
    """Layers of the LSTM; published 4."""
    dims: tuple[int, ...] = (256,)
    """Widths of the perceptron after it; published 1024, 512, 256."""
    dropout: float = 0.1
    """Probability that a number between two LSTM layers is dropped in training."""
    huber_delta: float = 1.0
    """Where the motion's loss turns from square to linear, in normalised units; published 1."""
    gripper_weight: float = 0.01
    """Weight of the gripper's cross-entropy beside the motion's loss; published 0.01."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no head."""
        if self.dim < 1 or self.depth < 1:
            raise InputError(
                f"LSTMHeadConfig.dim and depth must be >= 1; got {self.dim} and {self.depth}."
            )
        if not self.dims or min(self.dims) < 1:
            raise InputError(f"LSTMHeadConfig.dims must be positive widths; got {self.dims}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"LSTMHeadConfig.dropout must be in [0, 1); got {self.dropout}.")
        if self.huber_delta <= 0:
            raise InputError(f"LSTMHeadConfig.huber_delta must be > 0; got {self.huber_delta}.")

    def build(self, dim: int, *, horizon: int, action_dim: int) -> "LSTMHead":
        """Return the head for features of width ``dim``."""
        return LSTMHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class LSTMHead(nn.Module):
    """Every frame's chunk is read from the LSTM's output there; padding is skipped.

    Args:
        dim: Width of a frame's feature.
        config: Sizes and loss.
        horizon: Actions per chunk.
        action_dim: Numbers per action; the last is the gripper.
    """

    def __init__(self, dim: int, *, config: LSTMHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.horizon = horizon
        self.lstm = nn.LSTM(
            dim,
            config.dim,
            config.depth,
            batch_first=True,
            dropout=config.dropout if config.depth > 1 else 0.0,
        )
        widths = (config.dim, *config.dims)
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
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
        motion, gripper = self._output(self._remember(feature, history_mask))
        return regression_loss(
            motion,
            gripper,
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
        motion, gripper = self._output(self._remember(feature, history_mask)[:, -1:])
        return torch.cat([motion, 2 * gripper.sigmoid()[..., None] - 1], dim=-1)[:, 0]

    def _remember(
        self,
        feature: Float[Tensor, "batch history dim"],
        history_mask: Bool[Tensor, "batch history"],
    ) -> Float[Tensor, "batch history lstm"]:
        # Padding comes first; moved behind the frames it cannot reach their outputs.
        history = feature.shape[1]
        padding = history - history_mask.sum(dim=1, keepdim=True)
        time = torch.arange(history, device=feature.device)
        rows = torch.arange(len(feature), device=feature.device)[:, None]
        output, _ = self.lstm(feature[rows, (time + padding) % history])
        return output[rows, (time - padding) % history]

    def _output(
        self, memory: Float[Tensor, "batch history lstm"]
    ) -> tuple[
        Float[Tensor, "batch history horizon motion"], Float[Tensor, "batch history horizon"]
    ]:
        """Return the motion in (-1, 1) and the logit that the gripper closes."""
        output = self.to_action(self.layers(memory)).float()
        output = rearrange(output, "b t (h a) -> b t h a", h=self.horizon)
        return output[..., :-1].tanh(), output[..., -1]
