"""Policy head without memory: each frame's feature alone decides the chunk that begins there.

RoboFlamingo's "MLP w/o hist" (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378), and the
head of BC-Z. Differs from RoboFlamingo's: it gives a chunk of actions, without tanh.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from eyehand.nn.perceptron import Perceptron
from eyehand.policies.heads.limits import check_fields
from eyehand.policies.heads.regression import RegressionConfig, RegressionOutput


@dataclass(frozen=True)
class MLPHeadConfig(RegressionConfig):
    """A multi-layer perceptron on the present frame's feature."""

    needs_history: ClassVar[bool] = False

    name: Literal["mlp"] = "mlp"
    """Name of the head in a checkpoint's config."""
    dims: tuple[int, ...] = (1024, 512)
    """Widths of the hidden layers."""
    dropout: float = 0.0
    """Probability that a hidden number is dropped in training."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no head."""
        check_fields(self, widths=("dims",), shares=("dropout",), positive=("huber_delta",))

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
        self.layers = Perceptron(dim, config.dims, dropout=config.dropout)
        self.to_action = RegressionOutput(
            config.dims[-1], config=config, horizon=horizon, action_dim=action_dim, tanh=False
        )

    def loss(
        self,
        feature: Float[Tensor, "batch history dim"],
        action: Float[Tensor, "batch history horizon action"],
        *,
        action_mask: Bool[Tensor, "batch history horizon"],
        history_mask: Bool[Tensor, "batch history"],
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame; actions in [-1, 1]."""
        return self.to_action.loss(
            self.layers(feature), action, action_mask & history_mask[..., None]
        )

    def act(
        self,
        feature: Float[Tensor, "batch history dim"],
        *,
        history_mask: Bool[Tensor, "batch history"],
        seed: Int64[Tensor, " batch"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the chunk that begins at the last frame, in [-1, 1]."""
        return self.to_action.act(self.layers(feature[:, -1]))
