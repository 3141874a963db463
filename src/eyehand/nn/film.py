"""Feature-wise linear modulation: a sentence scales and shifts the channels of a feature map."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class FiLM(nn.Module):
    """Scale and shift each channel as the context says (Perez et al., 2018, eq. 2).

    The scale is ``1 + gamma`` and the projection starts at zero, so that a new layer is the
    identity. Modulate small maps: broadcasting over a large one, and the reduction of its gradient,
    can cost more than the convolutions around it.

    Args:
        dim: Channels of the map.
        context_dim: Width of the context vector.

    References:
        Perez et al., 2018, https://arxiv.org/abs/1709.07871.

    Example:
        >>> import torch
        >>> layer = FiLM(4, context_dim=3)
        >>> x = torch.randn(2, 4, 6, 6)
        >>> torch.equal(layer(x, torch.randn(2, 3)), x)
        True
    """

    def __init__(self, dim: int, *, context_dim: int) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(context_dim, 2 * dim)
        nn.init.zeros_(self.to_scale_shift.weight)
        nn.init.zeros_(self.to_scale_shift.bias)

    def forward(
        self,
        x: Float[Tensor, "batch dim height width"],
        context: Float[Tensor, "batch context_dim"],
    ) -> Float[Tensor, "batch dim height width"]:
        """Modulate ``x`` by ``context``."""
        gamma, beta = rearrange(self.to_scale_shift(context), "b (two c) -> two b c 1 1", two=2)
        return x * (1 + gamma) + beta
