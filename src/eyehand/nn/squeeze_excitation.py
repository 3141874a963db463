"""Squeeze-and-excitation: each channel is scaled by a number computed from the whole map."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    r"""Scale each channel by a number that the average of all channels decides (Hu et al., 2018).

    .. math:: y_c = s_c x_c, \qquad s = \sigma(W_2\, \mathrm{ReLU}(W_1 z)), \qquad
              z = \text{mean of } x \text{ over its cells}

    In a residual block it stands at the end of the branch, before the sum. A new layer about halves
    what passes (a sigmoid near 0). Like FiLM it says what, not where; its context is the map.

    Args:
        dim: Channels.
        reduction: The hidden width is ``dim`` divided by this, rounded down.

    Raises:
        ValueError: If no hidden channel is left.

    References:
        Hu et al., 2018, sec. 3 (with biases, which the formulas there leave out),
        https://arxiv.org/abs/1709.01507.

    Example:
        >>> SqueezeExcitation(32)(torch.zeros(1, 32, 7, 7)).shape
        torch.Size([1, 32, 7, 7])
    """

    def __init__(self, dim: int, *, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= dim:
            raise ValueError(
                f"`reduction` must be in [1, dim]; got reduction={reduction}, dim={dim}."
            )
        self.to_hidden = nn.Linear(dim, dim // reduction)
        self.to_scale = nn.Linear(dim // reduction, dim)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Scale the channels of ``x``."""
        hidden = self.to_hidden(x.mean(dim=(2, 3))).relu()
        scale = torch.sigmoid(self.to_scale(hidden))
        return x * rearrange(scale, "b d -> b d 1 1")
