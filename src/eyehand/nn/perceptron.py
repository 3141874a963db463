"""The multi-layer perceptron, without its last linear layer."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


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
