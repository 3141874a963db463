"""A causal transformer, which runs on a whole sequence or token by token."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyehand.nn.attention import CausalAttention, FeedForward, KeyValueCache


class CausalTransformer(nn.Module):
    """Blocks of causal attention and a perceptron, each after a layer norm (Radford et al., 2019).

    Differs from GPT-2: positions are rotary (Su et al., 2021) and linear maps have no bias.

    Args:
        dim: Width of the stream.
        depth: Number of blocks.
        heads: Attention heads.
        head_dim: Width of one head, even.

    Example:
        >>> import torch
        >>> model = CausalTransformer(8, depth=2, heads=2, head_dim=4)
        >>> output, caches = model(torch.zeros(1, 5, 8))
        >>> output.shape, len(caches), caches[0].key.shape
        (torch.Size([1, 5, 8]), 2, torch.Size([1, 2, 5, 4]))
    """

    def __init__(self, dim: int, *, depth: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.attentions = nn.ModuleList(
            CausalAttention(dim, heads=heads, head_dim=head_dim) for _ in range(depth)
        )
        self.feed_forwards = nn.ModuleList(FeedForward(dim) for _ in range(depth))
        self.last_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        *,
        mask: Bool[Tensor, "batch key"] | None = None,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> tuple[Float[Tensor, "batch token dim"], list[KeyValueCache]]:
        """Return the tokens after all blocks, and what later tokens need of them.

        Args:
            x: New tokens.
            mask: False where a token, of the caches or new, is padding.
            caches: Of the tokens before, one per block.
        """
        kept = []
        for number, attention in enumerate(self.attentions):
            cache = caches[number] if caches is not None else None
            found, new = attention(self.norms[number](x), mask=mask, cache=cache)
            kept.append(new)
            x = x + found
            x = x + self.feed_forwards[number](x)
        return self.last_norm(x), kept
