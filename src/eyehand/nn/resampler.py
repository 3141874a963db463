"""Perceiver resampler: however many visual tokens come in, a few learned ones come out.

From Flamingo (Alayrac et al., 2022, sec. 2.1 and appendix A.1.1, https://arxiv.org/abs/2204.14198).
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.nn.attention import Attention, FeedForward

START = 0.02
"""Standard deviation of latents and embeddings at first. Both are added to what is seen, and at 1,
as in flamingo-pytorch, they drown it: of our tokens 1 % was left behind the resampler."""


class Resampler(nn.Module):
    """Learned latents attend, layer by layer, to the tokens of a picture and to each other.

    Every picture ("medium") is resampled alone by the same weights; an embedding per medium says
    which it was.

    Args:
        dim: Width of tokens and latents.
        depth: Number of layers, each an attention and a feed-forward.
        heads: Attention heads.
        head_dim: Width of one head.
        latents: Number of tokens that come out.
        media: Number of pictures that may come at once.

    References:
        Alayrac et al., 2022, https://arxiv.org/abs/2204.14198.

    Example:
        >>> layer = Resampler(8, depth=1, heads=2, head_dim=4, latents=3, media=2)
        >>> layer(torch.zeros(5, 2, 36, 8)).shape
        torch.Size([5, 2, 3, 8])
    """

    def __init__(
        self, dim: int, *, depth: int, heads: int, head_dim: int, latents: int, media: int
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(START * torch.randn(latents, dim))
        self.media = nn.Parameter(START * torch.randn(media, 1, dim))
        self.layers = nn.ModuleList(
            ResamplerLayer(dim, heads=heads, head_dim=head_dim) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "batch media token dim"]
    ) -> Float[Tensor, "batch media latent dim"]:
        """Return the latents of every picture."""
        batch, media = x.shape[:2]
        x = rearrange(x + self.media[:media], "b m n d -> (b m) n d")
        latents = repeat(self.latents, "n d -> b n d", b=batch * media)
        for layer in self.layers:
            latents = layer(latents, x)
        return rearrange(self.norm(latents), "(b m) n d -> b m n d", m=media)


class ResamplerLayer(nn.Module):
    """One layer: the latents' queries meet the keys of tokens and latents together.

    Args:
        dim: Width of tokens and latents.
        heads: Attention heads.
        head_dim: Width of one head.
    """

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.norm_token = nn.LayerNorm(dim)
        self.norm_latent = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads=heads, head_dim=head_dim)
        self.feed_forward = FeedForward(dim)

    def forward(
        self, latents: Float[Tensor, "batch latent dim"], x: Float[Tensor, "batch token dim"]
    ) -> Float[Tensor, "batch latent dim"]:
        """Return the latents after they looked at ``x``."""
        query = self.norm_latent(latents)
        context = torch.cat([self.norm_token(x), query], dim=1)
        latents = latents + self.attention(query, context)
        return latents + self.feed_forward(latents)
