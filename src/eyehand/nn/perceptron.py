"""The multi-layer perceptron without its last linear layer, and one that says a Gaussian."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

LOWEST, HIGHEST = -20.0, 2.0
"""Of the logarithm of a Gaussian's deviation (Haarnoja et al., 2018)."""


class Perceptron(nn.Sequential):
    """Linear layers, each followed by ReLU and dropout.

    Args:
        dim: Width of the input.
        dims: Widths of the layers; the last is the width of the output.
        dropout: Probability that a number is dropped in training.

    Example:
        >>> import torch
        >>> Perceptron(3, (16, 8))(torch.zeros(2, 3)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int, dims: Sequence[int], *, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for width, next_width in pairwise((dim, *dims)):
            layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers)


class GaussianPerceptron(nn.Module):
    """Mean and logarithm of the deviation of as many independent Gaussians as wanted.

    Args:
        dim: Width of the input.
        numbers: How many Gaussians.
        dims: Widths of the hidden layers.

    Example:
        >>> import torch
        >>> mean, log_std = GaussianPerceptron(3, 2, (16, 8))(torch.zeros(5, 3))
        >>> mean.shape, log_std.shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, dim: int, numbers: int, dims: Sequence[int]) -> None:
        super().__init__()
        self.trunk = Perceptron(dim, dims)
        self.to_both = nn.Linear(dims[-1], 2 * numbers)

    def forward(
        self, x: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch number"], Float[Tensor, "*batch number"]]:
        """Return mean and logarithm of the deviation."""
        mean, log_std = self.to_both(self.trunk(x)).chunk(2, dim=-1)
        return mean, log_std.clamp(LOWEST, HIGHEST)
