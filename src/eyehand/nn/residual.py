"""The two shortcuts of residual networks across a change of size: zero padding and projection.

Where the size does not change the shortcut is the identity, ``torch.nn.Identity``.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ZeroPaddingShortcut(nn.Module):
    """Take every ``stride``-th cell, fill new channels with zeros (He et al., 2016, sec. 3.3, A).

    No parameters and next to no work; the new channels get only what the branch gives them.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output, at least ``dim``; the new ones come last.
        stride: Cells from one that is taken to the next.

    Raises:
        ValueError: If ``out_dim`` is less than ``dim``.

    References:
        He et al., 2016, https://arxiv.org/abs/1512.03385.

    Example:
        >>> import torch
        >>> ZeroPaddingShortcut(1, 2, stride=2)(torch.arange(9.0).view(1, 1, 3, 3)).tolist()
        [[[[0.0, 2.0], [6.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]]
    """

    def __init__(self, dim: int, out_dim: int, *, stride: int) -> None:
        super().__init__()
        if out_dim < dim:
            raise ValueError(
                "A shortcut that pads with zeros cannot have fewer channels than come in; "
                f"got dim={dim}, out_dim={out_dim}."
            )
        self.new, self.stride = out_dim - dim, stride

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Thin out ``x`` and pad it."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))


class ProjectionShortcut(nn.Sequential):
    """Convolve 1 x 1 with a stride and normalize (He et al., 2016, sec. 3.3, B).

    With stride 2 it reads one cell of four and never sees the others; where that matters, average
    before it (ResNet-D: He et al., 2019). Its parameters are named ``0`` and ``1``: stored as
    ``downsample`` in a block, they have torchvision's names.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        stride: Cells from one that is read to the next.

    References:
        He et al., 2016, https://arxiv.org/abs/1512.03385. He et al., 2019,
        https://arxiv.org/abs/1812.01187.

    Example:
        >>> import torch
        >>> ProjectionShortcut(4, 8, stride=2)(torch.zeros(2, 4, 7, 7)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, dim: int, out_dim: int, *, stride: int) -> None:
        super().__init__(
            nn.Conv2d(dim, out_dim, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(out_dim),
        )
