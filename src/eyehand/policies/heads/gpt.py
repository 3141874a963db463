"""Policy head with memory: a causal transformer over the features of the last frames.

RoboFlamingo's "GPT" (Li et al., 2023, sec. 4.2, https://arxiv.org/abs/2311.01378). Differs from the
paper: positions are rotary, so that they count from frame to frame and not from the window's start,
and it gives a chunk of actions, not one.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from eyehand.nn.transformer import CausalTransformer
from eyehand.policies.heads.contract import Features, FrameMask, Memory
from eyehand.policies.heads.regression import RegressionConfig, RegressionHead, RegressionOutput


@dataclass(frozen=True)
class GPTHeadConfig(RegressionConfig):
    """A causal transformer over the history of features."""

    needs_history: ClassVar[bool] = True

    name: Literal["gpt"] = "gpt"
    """Name of the head in a checkpoint's config."""
    dim: int = 256
    """Width of the transformer."""
    depth: int = 2
    """Blocks of the transformer."""
    heads: int = 4
    """Attention heads of a block."""
    head_dim: int = 64
    """Width of one attention head, even."""

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "GPTHead":
        """Return the head for features of width ``dim``."""
        return GPTHead(dim, config=self, horizon=horizon, action_dim=action_dim, gripper=gripper)


class GPTHead(RegressionHead):
    """Every frame's chunk is read from the transformer's output there; padding is not looked at.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: GPTHeadConfig, **chunk: int) -> None:
        super().__init__(dim, config=config, **chunk)
        self.to_token = nn.Linear(dim, config.dim)
        self.transformer = CausalTransformer(
            config.dim, depth=config.depth, heads=config.heads, head_dim=config.head_dim
        )
        self.layers = nn.Identity()
        self.to_action = RegressionOutput(config.dim, tanh=True, **chunk)

    def remember(self, feature: Features, history_mask: FrameMask) -> Memory:
        """Return the transformer's output at each frame."""
        return self.transformer(self.to_token(feature), mask=history_mask)[0]
