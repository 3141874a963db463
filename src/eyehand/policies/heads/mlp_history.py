"""Policy head over a window: a perceptron reads the features of the last frames side by side.

RoboFlamingo's "MLP w hist" (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378). Differs
from the paper: it hands the window to the fusion decoder, so that words attend to several frames;
here the head reads the frames' features, as the other heads with history do. A chunk, not one
action.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from einops import rearrange
from torch.nn import functional as F

from eyehand.nn.perceptron import Perceptron
from eyehand.policies.heads.contract import Features, FrameMask, Memory
from eyehand.policies.heads.regression import RegressionConfig, RegressionHead, RegressionOutput


@dataclass(frozen=True)
class MLPHistoryHeadConfig(RegressionConfig):
    """A multi-layer perceptron on the features of the last frames."""

    needs_history: ClassVar[bool] = True

    name: Literal["mlp_history"] = "mlp_history"
    """Name of the head in a checkpoint's config."""
    frames: int = 8
    """Frames that a decision reads; those before the first are zeros."""
    dims: tuple[int, ...] = (1024, 512)
    """Widths of the hidden layers."""
    dropout: float = 0.0
    """Probability that a hidden number is dropped in training."""

    def build(
        self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1
    ) -> "MLPHistoryHead":
        """Return the head for features of width ``dim``."""
        return MLPHistoryHead(
            dim, config=self, horizon=horizon, action_dim=action_dim, gripper=gripper
        )


class MLPHistoryHead(RegressionHead):
    """Linear layers on a frame and those before it; one number per step and action dimension.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: MLPHistoryHeadConfig, **chunk: int) -> None:
        super().__init__(dim, config=config, **chunk)
        self.frames = config.frames
        self.layers = Perceptron(config.frames * dim, config.dims, dropout=config.dropout)
        self.to_action = RegressionOutput(config.dims[-1], tanh=True, **chunk)

    def remember(self, feature: Features, history_mask: FrameMask) -> Memory:
        """Return beside each frame those before it, the oldest first."""
        feature = feature.masked_fill(~history_mask[..., None], 0)
        padded = F.pad(feature, (0, 0, self.frames - 1, 0))
        return rearrange(padded.unfold(1, self.frames, 1), "b t d frame -> b t (frame d)")
