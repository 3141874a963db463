"""Deformable convolution: where the kernel samples a map is computed from the map."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def deformable_convolution(
    x: Float[Tensor, "batch dim height width"],
    offset: Float[Tensor, "batch moves out_height out_width"],
    weight: Float[Tensor, "out_dim dim kernel_height kernel_width"],
    *,
    mask: Float[Tensor, "batch samples out_height out_width"] | None = None,
    bias: Float[Tensor, " out_dim"] | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Float[Tensor, "batch out_dim out_height out_width"]:
    r"""Convolve at moved positions (Dai et al., 2017, eq. 2; Zhu et al., 2019, eq. 1).

    .. math:: y(p) = \sum_k w_k\, m_k(p)\, x(p + p_k + \Delta p_k(p))

    Between the centres of cells x is interpolated bilinearly, outside the map it is zero. With
    offsets of zero and no mask it is ``torch.nn.functional.conv2d``. At a centre x has a kink: the
    gradient by ``offset`` is there that of one side.

    The samples are laid out before they are multiplied: memory for as many maps as the kernel has
    cells, as in torchvision's ``deform_conv2d``, whose arguments these are. Positions are computed
    in float32 or wider: in bfloat16 a column of 256 could move only in steps of two.

    Args:
        x: Map that is read.
        offset: By how many cells each sample moves; for every cell of the kernel, row by row, (dy,
            dx): down and to the right.
        weight: Kernel.
        mask: Weight of each sample, usually in [0, 1]; for every cell of the kernel, row by row.
        bias: Added to every output channel.
        stride: Cells from one output to the next.
        padding: Cells of zeros around the map.
        dilation: Cells from one unmoved sample to the next.

    Raises:
        ValueError: If ``offset`` or ``mask`` does not fit the kernel and the size of the output.

    References:
        Dai et al., 2017, https://arxiv.org/abs/1703.06211. Zhu et al., 2019,
        https://arxiv.org/abs/1811.11168.

    Example:
        >>> x, weight = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 1, 1, 1)
        >>> offset = torch.zeros(1, 2, 4, 4)
        >>> offset[:, 1] = 0.5  # half a cell to the right; outside is zero
        >>> deformable_convolution(x, offset, weight)[0, 0, 0]
        tensor([0.5000, 1.5000, 2.5000, 1.5000])
    """
    height, width = x.shape[2:]
    kernel_height, kernel_width = weight.shape[2:]
    wide = torch.promote_types(x.dtype, torch.float32)

    def unmoved(cells: int, kernel_size: int) -> Float[Tensor, " position"]:
        """Return where the samples of one axis are read, output by output."""
        span = cells + 2 * padding - dilation * (kernel_size - 1)
        first = torch.arange(0, max(span, 0), stride, dtype=wide, device=x.device) - padding
        sample = dilation * torch.arange(kernel_size, dtype=wide, device=x.device)
        return (first[:, None] + sample).flatten()

    row, column = unmoved(height, kernel_height), unmoved(width, kernel_width)
    samples = kernel_height * kernel_width
    size = (len(row) // kernel_height, len(column) // kernel_width)
    _check("offset", offset, (len(x), 2 * samples, *size))
    # Each output's samples lie as a tile the size of the kernel: a convolution whose stride is that
    # size then multiplies them by the weights.
    dy, dx = rearrange(
        offset.to(wide), "b (kh kw two) h w -> two b (h kh) (w kw)", two=2, kh=kernel_height
    )
    # In torch's units the outer edges of the map are -1 and 1, the centre of cell i (2i + 1)/n - 1.
    grid_x = (2 * (dx + column) + 1) / width - 1
    grid_y = (2 * (dy + row[:, None]) + 1) / height - 1
    tile = F.grid_sample(x.to(wide), torch.stack([grid_x, grid_y], dim=-1), align_corners=False)
    if mask is not None:
        _check("mask", mask, (len(x), samples, *size))
        tile = tile * rearrange(mask, "b (kh kw) h w -> b 1 (h kh) (w kw)", kh=kernel_height)
    return F.conv2d(tile.to(x.dtype), weight, bias, stride=(kernel_height, kernel_width))


class DeformableConv2d(nn.Conv2d):
    """Convolution that decides from a map where to read it (Dai et al., 2017; Zhu et al., 2019).

    A second convolution, ``to_offset``, of the same kernel, stride and dilation says where each
    sample goes and, if modulated (version 2), what it weighs: a sigmoid in [0, 1]. It starts at
    zero. A new layer of version 1 is therefore the plain convolution, one of version 2 half of it,
    before the bias: loading the weights of a plain convolution into it halves what it says.

    The paper of version 2 trains ``to_offset`` with a tenth of the learning rate: that is the
    optimiser's affair. Offsets have no bound.

    A ``Conv2d``, so that ``weight`` and ``bias`` are initialised, named and loaded as one's.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        kernel_size: Side of the kernel.
        modulated: Whether samples are weighed.
        stride: Cells from one output to the next.
        padding: Cells of zeros around the map.
        dilation: Cells from one unmoved sample to the next.

    References:
        Dai et al., 2017, sec. 2.1, https://arxiv.org/abs/1703.06211. Zhu et al., 2019, sec. 3.2,
        https://arxiv.org/abs/1811.11168.

    Example:
        >>> layer = DeformableConv2d(3, 8, kernel_size=3, modulated=False, padding=1)
        >>> x = torch.randn(1, 3, 6, 6)
        >>> plain = F.conv2d(x, layer.weight, layer.bias, padding=1)
        >>> torch.allclose(layer(x), plain, atol=1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        *,
        kernel_size: int,
        modulated: bool,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__(dim, out_dim, kernel_size, stride, padding, dilation)
        self.modulated = modulated
        numbers = (3 if modulated else 2) * kernel_size**2
        self.to_offset = nn.Conv2d(dim, numbers, kernel_size, stride, padding, dilation)
        nn.init.zeros_(self.to_offset.weight)
        assert self.to_offset.bias is not None
        nn.init.zeros_(self.to_offset.bias)

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Convolve ``x`` at the positions computed from it."""
        offset, mask = self.to_offset(x), None
        if self.modulated:
            offset, mask = offset.tensor_split([2 * offset.shape[1] // 3], dim=1)
            mask = mask.sigmoid()
        return deformable_convolution(
            x,
            offset,
            self.weight,
            mask=mask,
            bias=self.bias,
            stride=self.stride[0],
            padding=int(self.padding[0]),
            dilation=self.dilation[0],
        )


def _check(name: str, given: Tensor, fits: tuple[int, ...]) -> None:
    """Raise ``ValueError`` for a tensor of a shape that does not fit."""
    if given.shape != fits:
        raise ValueError(f"`{name}` must have the shape {fits}; got {tuple(given.shape)}.")
