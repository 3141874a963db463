"""Policy head without memory: each frame's feature alone decides the chunk that begins there.

RoboFlamingo's "MLP w/o hist" (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378), and the
head of BC-Z. Differs from RoboFlamingo's: it gives a chunk of actions, without tanh.
"""

from dataclasses import dataclass
from typing import Literal

from eyehand.nn.perceptron import Perceptron
from eyehand.policies.heads.contract import Features, FrameMask
from eyehand.policies.heads.regression import RegressionConfig, RegressionHead, RegressionOutput


@dataclass(frozen=True)
class MLPHeadConfig(RegressionConfig):
    """A multi-layer perceptron on the present frame's feature."""

    name: Literal["mlp"] = "mlp"
    """Name of the head in a checkpoint's config."""
    dims: tuple[int, ...] = (1024, 512)
    """Widths of the hidden layers."""
    dropout: float = 0.0
    """Probability that a hidden number is dropped in training."""

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "MLPHead":
        """Return the head for features of width ``dim``."""
        return MLPHead(dim, config=self, horizon=horizon, action_dim=action_dim, gripper=gripper)


class MLPHead(RegressionHead):
    """Linear layers with ReLU, then one number per step and action dimension.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: MLPHeadConfig, **chunk: int) -> None:
        super().__init__(dim, config=config, **chunk)
        self.layers = Perceptron(dim, config.dims, dropout=config.dropout)
        self.to_action = RegressionOutput(config.dims[-1], tanh=False, **chunk)

    def remember(self, feature: Features, history_mask: FrameMask) -> Features:
        """Return the features as they are: each frame stands for itself."""
        return feature
