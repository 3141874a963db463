"""Policy head with memory: an LSTM over the features of the last frames, then a perceptron.

RoboFlamingo's best head (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378). Differs from
the paper: it gives a chunk of actions, not one. The published policy carries the LSTM's state for
the first frames and computes it anew over the window after; over the window it is the same.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from eyehand.nn.perceptron import Perceptron
from eyehand.policies.heads.contract import Features, FrameMask, Memory
from eyehand.policies.heads.regression import RegressionConfig, RegressionHead, RegressionOutput


@dataclass(frozen=True)
class LSTMHeadConfig(RegressionConfig):
    """An LSTM over the history of features."""

    needs_history: ClassVar[bool] = True

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

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "LSTMHead":
        """Return the head for features of width ``dim``."""
        return LSTMHead(dim, config=self, horizon=horizon, action_dim=action_dim, gripper=gripper)


class LSTMHead(RegressionHead):
    """Every frame's chunk is read from the LSTM's output there; padding is skipped.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: LSTMHeadConfig, **chunk: int) -> None:
        super().__init__(dim, config=config, **chunk)
        self.lstm = nn.LSTM(
            dim,
            config.dim,
            config.depth,
            batch_first=True,
            dropout=config.dropout if config.depth > 1 else 0.0,
        )
        self.layers = Perceptron(config.dim, config.dims)
        self.to_action = RegressionOutput(config.dims[-1], tanh=True, **chunk)

    def remember(self, feature: Features, history_mask: FrameMask) -> Memory:
        """Return the LSTM's output at each frame."""
        # Padding comes first; moved behind the frames it cannot reach their outputs.
        history = feature.shape[1]
        padding = history - history_mask.sum(dim=1, keepdim=True)
        time = torch.arange(history, device=feature.device)
        rows = torch.arange(len(feature), device=feature.device)[:, None]
        output, _ = self.lstm(feature[rows, (time + padding) % history])
        return output[rows, (time - padding) % history]
