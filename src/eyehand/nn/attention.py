"""Multi-head attention: every position gathers what it needs from the others."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Scaled dot-product attention over several heads (Vaswani et al., 2017, sec. 3.2).

    Projections have no bias and heads any width, as in Flamingo.

    Args:
        dim: Width of the query stream.
        heads: Number of attention heads.
        head_dim: Width of one head.
        context_dim: Width of the stream that keys and values come from; ``None`` means ``dim``.

    Example:
        >>> import torch
        >>> layer = Attention(8, heads=2, head_dim=16, context_dim=3)
        >>> layer(torch.zeros(1, 5, 8), torch.zeros(1, 7, 3)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self, dim: int, *, heads: int, head_dim: int, context_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        inner_dim = heads * head_dim
        self.to_query = nn.Linear(dim, inner_dim, bias=False)
        self.to_key_value = nn.Linear(
            dim if context_dim is None else context_dim, 2 * inner_dim, bias=False
        )
        self.to_output = nn.Linear(inner_dim, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch query dim"],
        context: Float[Tensor, "batch key context_dim"],
    ) -> Float[Tensor, "batch query dim"]:
        """Let every position of ``x`` attend to every one of ``context``."""
        q = self.to_query(x)
        k, v = self.to_key_value(context).chunk(2, dim=-1)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (q, k, v))
        # Written out: torch's fused kernel needs up to 20 times longer for the gradients of short
        # sequences in bfloat16 on a CPU, and short is all that comes here.
        weight = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.to_output(rearrange(weight @ v, "b h n d -> b n (h d)"))


class FeedForward(nn.Sequential):
    """Layer norm, then two linear maps without bias around a GELU, as in Flamingo.

    Args:
        dim: Width of the stream.
        expansion: Width of the inner layer in multiples of ``dim``.

    Example:
        >>> import torch
        >>> FeedForward(8)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, *, expansion: int = 4) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, expansion * dim, bias=False),
            nn.GELU(),
            nn.Linear(expansion * dim, dim, bias=False),
        )
