"""Tokens one after the other, given a feature: the network of heads that speak in tokens."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from eyehand.nn.transformer import CausalTransformer
from eyehand.policies.heads.contract import ActionHeadConfig


def likeliest(logits: Float[Tensor, "batch vocabulary"]) -> Int64[Tensor, " batch"]:
    """Return the token of the largest logit."""
    return logits.argmax(dim=-1)


class TokenDecoder(nn.Module):
    """A causal transformer whose first token is the feature.

    Args:
        dim: Width of the feature.
        vocabulary: Different tokens.
        width: Width of the transformer.
        depth: Blocks of the transformer.
        heads: Attention heads of a block.
        head_dim: Width of one attention head, even.

    Example:
        >>> net = TokenDecoder(3, vocabulary=5, width=8, depth=1, heads=2, head_dim=4)
        >>> net(torch.zeros(2, 3), torch.zeros(2, 7, dtype=torch.long)).shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self, dim: int, *, vocabulary: int, width: int, depth: int, heads: int, head_dim: int
    ) -> None:
        super().__init__()
        self.to_first = nn.Linear(dim, width)
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = CausalTransformer(width, depth=depth, heads=heads, head_dim=head_dim)
        self.to_logits = nn.Linear(width, vocabulary)

    def forward(
        self, feature: Float[Tensor, "batch dim"], tokens: Int64[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token vocabulary"]:
        """Return the logits of every token, given the feature and the tokens before it."""
        before = self.embedding(tokens[:, :-1])
        x = torch.cat([self.to_first(feature)[:, None], before], dim=1)
        return self.to_logits(self.transformer(x)[0]).float()

    def generate(
        self,
        feature: Float[Tensor, "batch dim"],
        *,
        length: int,
        end: int | None = None,
        choose: Callable[[Float[Tensor, "batch vocabulary"]], Int64[Tensor, " batch"]] = likeliest,
    ) -> Int64[Tensor, "batch token"]:
        """Choose the next token ``length`` times, or until every row has said ``end``."""
        x, caches, tokens = self.to_first(feature)[:, None], None, []
        for _ in range(length):
            x, caches = self.transformer(x, caches=caches)
            tokens.append(choose(self.to_logits(x)[:, 0].float())[:, None])
            if end is not None and (torch.cat(tokens, dim=1) == end).any(dim=1).all():
                break
            x = self.embedding(tokens[-1])
        return torch.cat(tokens, dim=1)


@dataclass(frozen=True)
class TokenHeadConfig(ActionHeadConfig):
    """Sizes of the decoder of a head that speaks in tokens."""

    dim: int = 128
    """Width of the decoder."""
    depth: int = 2
    """Blocks of the decoder."""
    heads: int = 4
    """Attention heads of a block."""
    head_dim: int = 32
    """Width of one attention head, even."""

    def build_decoder(self, dim: int, *, vocabulary: int) -> TokenDecoder:
        """Return a decoder of these sizes for features of width ``dim``."""
        return TokenDecoder(
            dim,
            vocabulary=vocabulary,
            width=self.dim,
            depth=self.depth,
            heads=self.heads,
            head_dim=self.head_dim,
        )
