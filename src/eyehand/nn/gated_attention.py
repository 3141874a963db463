"""Gated cross-attention: a second input to a trained network, ignored at first.

From Flamingo (Alayrac et al., 2022, sec. 2.2, https://arxiv.org/abs/2204.14198).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.nn.attention import Attention, FeedForward


class GatedCrossAttention(nn.Module):
    """Text queries attend to visual tokens; what they find comes in through tanh gates.

    Args:
        dim: Width of the text stream.
        context_dim: Width of the visual tokens.
        heads: Attention heads.
        head_dim: Width of one head.
        gate: What both gates start at, before the tanh. At 0 a new layer is the identity: a model
            that generates text goes on as it did, and nothing behind the gates learns until they
            open.

    Example:
        >>> layer = GatedCrossAttention(8, context_dim=4, heads=2, head_dim=4)
        >>> x = torch.randn(1, 5, 8)
        >>> torch.equal(layer(x, torch.randn(1, 3, 4)), x)
        True
    """

    def __init__(
        self, dim: int, *, context_dim: int, heads: int, head_dim: int, gate: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads=heads, head_dim=head_dim, context_dim=context_dim)
        self.attention_gate = nn.Parameter(torch.full((1,), gate))
        self.feed_forward = FeedForward(dim)
        self.feed_forward_gate = nn.Parameter(torch.full((1,), gate))

    def forward(
        self,
        x: Float[Tensor, "batch query dim"],
        context: Float[Tensor, "batch key context_dim"],
    ) -> Float[Tensor, "batch query dim"]:
        """Return the text after it looked at the visual tokens."""
        x = x + self.attention(self.norm(x), context) * self.attention_gate.tanh()
        return x + self.feed_forward(x) * self.feed_forward_gate.tanh()
