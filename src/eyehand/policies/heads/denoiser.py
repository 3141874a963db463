"""The network inside the heads that denoise: a residual perceptron told the feature and the time.

Octo's diffusion head (Ghosh et al., 2024, https://arxiv.org/abs/2405.12213, sec. III-B and its
code): three residual blocks with layer norm on noisy chunk, time and feature side by side.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.nn.attention import FeedForward
from eyehand.nn.position import sinusoids

TIME_DIM = 64
"""Numbers that a moment becomes."""
SHORTEST, LONGEST = 4e-3, 4.0
"""Periods of its sinusoids for times in [0, 1] that have no grid, as in pi0."""


class Denoiser(nn.Module):
    """Noisy chunk, time and feature to a chunk of the same shape.

    Args:
        dim: Width of the feature.
        width: Width of the residual stream.
        depth: Residual blocks.
        horizon: Actions per chunk.
        action_dim: Numbers per action.
        shortest: Shortest period of the time's sinusoids. Where times lie on a grid, periods below
            twice its step only repeat what longer ones say.

    Example:
        >>> net = Denoiser(3, width=16, depth=2, horizon=4, action_dim=2)
        >>> net(torch.zeros(5, 4, 2), torch.zeros(5), torch.zeros(5, 3)).shape
        torch.Size([5, 4, 2])
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int,
        depth: int,
        horizon: int,
        action_dim: int,
        shortest: float = SHORTEST,
    ) -> None:
        super().__init__()
        self.shortest = shortest
        self.to_hidden = nn.Linear(horizon * action_dim + TIME_DIM + dim, width)
        self.blocks = nn.ModuleList(FeedForward(width) for _ in range(depth))
        self.to_output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, horizon * action_dim))

    def forward(
        self,
        noisy: Float[Tensor, "batch horizon action"],
        time: Float[Tensor, " batch"],
        feature: Float[Tensor, "batch dim"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return what the head trains it to predict; ``time`` is in [0, 1]."""
        moment = sinusoids(time, dim=TIME_DIM, shortest=self.shortest, longest=LONGEST)
        flat = rearrange(noisy, "b h a -> b (h a)")
        hidden = self.to_hidden(torch.cat([flat, moment, feature], dim=-1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return rearrange(self.to_output(hidden).float(), "b (h a) -> b h a", h=noisy.shape[1])
