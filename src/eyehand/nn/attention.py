"""Multi-head attention: every position gathers what it needs from the others."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyehand.nn.position import rotary


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
        self.watch: Callable[[Float[Tensor, "batch head query key"]], None] | None = None
        """Called with the weights of every forward pass; for looking inside."""

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
        if self.watch is not None:
            self.watch(weight)
        return self.to_output(rearrange(weight @ v, "b h n d -> b n (h d)"))


class KeyValueCache(NamedTuple):
    """What earlier tokens offered, so that it is computed once."""

    key: Float[Tensor, "batch head past head_dim"]
    value: Float[Tensor, "batch head past head_dim"]


class CausalAttention(nn.Module):
    """Self-attention of every token to itself and those before it, with rotary positions.

    Args:
        dim: Width of the stream.
        heads: Number of attention heads.
        head_dim: Width of one head, even.

    Example:
        >>> layer = CausalAttention(8, heads=2, head_dim=4)
        >>> x = torch.randn(1, 3, 8)
        >>> whole, _ = layer(x)
        >>> _, cache = layer(x[:, :2])
        >>> last, _ = layer(x[:, 2:], cache=cache)
        >>> torch.allclose(last, whole[:, 2:], atol=1e-6)
        True
    """

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_query_key_value = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_output = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch query dim"],
        *,
        mask: Bool[Tensor, "batch key"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> tuple[Float[Tensor, "batch query dim"], KeyValueCache]:
        """Attend, and return what later tokens need of these.

        Args:
            x: New tokens.
            mask: False where a token, of the cache or new, is padding, not to be attended to. What
                comes out at padding means nothing.
            cache: Of the tokens before, as the call on them returned it.
        """
        q, k, v = rearrange(
            self.to_query_key_value(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.heads
        )
        if cache is not None:
            k, v = torch.cat([cache.key, k], dim=2), torch.cat([cache.value, v], dim=2)
        new, whole = q.shape[2], k.shape[2]
        position = torch.arange(whole, device=x.device)
        # Keys are kept as they were before they are turned: a window that slides renumbers them.
        weight = rotary(q, position[-new:]) @ rotary(k, position).transpose(-1, -2)
        seen = position <= position[-new:, None]
        if mask is not None:
            seen = seen & mask[:, None, None]
        # Not -inf: a row of padding attends to nothing; its softmax would be NaN.
        weight = weight.float().masked_fill(~seen, torch.finfo(torch.float32).min)
        weight = (weight * q.shape[-1] ** -0.5).softmax(dim=-1).to(v.dtype)
        output = self.to_output(rearrange(weight @ v, "b h n d -> b n (h d)"))
        return output, KeyValueCache(k, v)


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
