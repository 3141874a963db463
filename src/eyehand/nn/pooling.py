"""Pooling of a map of any size to a vector of fixed length: in a pyramid of bins, or weighted."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialPyramidPooling(nn.Module):
    """Largest number in each bin of several grids (He et al., 2014, sec. 2.2).

    A map of any size becomes ``dim`` times the sum of the squared levels: linear layers can follow
    a picture of any size. On a map with fewer cells than bins, bins share cells.

    Differs from the paper: its windows of ceil(a/n) cells every floor(a/n) cells are more than n
    where a divided by n leaves a remainder of more than floor(a/n) (7 cells make 6 windows, not 4),
    and the first n of them miss the last cells where it leaves 2 or more. Here the bins are those
    of torch's ``AdaptiveMaxPool2d``: always n, and every cell is in one. At a remainder of 0 or 1,
    as on the paper's maps of 13 cells, they are the same.

    Args:
        levels: Bins along each side, one number per grid.

    Raises:
        ValueError: If there is no level, or one with no bins.

    References:
        He et al., 2014, https://arxiv.org/abs/1406.4729.

    Example:
        >>> pool = SpatialPyramidPooling()
        >>> pool(torch.zeros(2, 8, 13, 13)).shape, pool(torch.zeros(2, 8, 10, 7)).shape
        (torch.Size([2, 168]), torch.Size([2, 168]))
    """

    def __init__(self, levels: tuple[int, ...] = (4, 2, 1)) -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ValueError(f"`levels` must be numbers of bins, each at least 1; got {levels}.")
        self.levels = levels

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch features"]:
        """Pool ``x`` level by level; within a level the order is channel, row, column."""
        bins = [F.adaptive_max_pool2d(x, level).flatten(1) for level in self.levels]
        return torch.cat(bins, dim=1)


class GlobalWeightedPooling(nn.Module):
    r"""Average over all cells, each weighted by what is in it (Qiu, 2018).

    .. math:: y = \sum_p \alpha_p x_p, \qquad \alpha = \mathrm{softmax}_p (w \cdot x_p)

    Between average pooling, where it starts, and looking at one cell. The weights say where it
    looks. They compete: where nothing is to be seen, the least uninteresting cells win. Computed in
    float32 or wider, because half precision loses small weights among many cells.

    Differs from the paper: 1. Its weights are the normalized exponentials of a *sigmoid*, none
    more than e times another; here a single cell can win, as in the attention pooling of Ilse et
    al. (2018, eq. 8), of which this is the linear case. 2. No bias: the softmax takes it out.

    Args:
        dim: Channels.

    References:
        Qiu, 2018, https://arxiv.org/abs/1809.08264. Ilse et al., 2018,
        https://arxiv.org/abs/1802.04712.

    Example:
        >>> x = torch.randn(2, 8, 5, 6)
        >>> torch.allclose(GlobalWeightedPooling(8)(x), x.mean((2, 3)), atol=1e-6)
        True
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_score = nn.Conv2d(dim, 1, kernel_size=1, bias=False)
        nn.init.zeros_(self.to_score.weight)

    def forward(self, x: Float[Tensor, "batch dim height width"]) -> Float[Tensor, "batch dim"]:
        """Return the weighted mean of the cells of ``x``."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = rearrange(self.to_score(x).to(wide), "b 1 h w -> b (h w)").softmax(dim=-1)
        cells = rearrange(x.to(wide), "b d h w -> b d (h w)")
        return einsum(cells, weight, "b d cell, b cell -> b d").to(x.dtype)
