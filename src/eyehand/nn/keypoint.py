"""Spatial soft-argmax: where in the picture each heat map has its mass."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def spatial_soft_argmax(
    logits: Float[Tensor, "batch keypoint height width"],
) -> Float[Tensor, "batch keypoint 2"]:
    """Return the expected position under the softmax of each heat map (Finn et al., 2016, sec. IV).

    Computed in float32 or wider: half precision would round the position to a fraction of a cell.

    Args:
        logits: Heat maps before the softmax.

    Returns:
        (x, y) of each keypoint in [-1, 1]; x to the right, y down, -1 and 1 at the centres of the
        outermost cells.

    References:
        Finn et al., 2016, https://arxiv.org/abs/1509.06113.

    Example:
        >>> logits = torch.zeros(1, 1, 3, 3)
        >>> logits[0, 0, 0, 2] = 100.0
        >>> spatial_soft_argmax(logits)
        tensor([[[ 1., -1.]]])
    """
    height, width = logits.shape[-2:]
    dtype = torch.promote_types(logits.dtype, torch.float32)
    heat = rearrange(logits, "b k h w -> b k (h w)").to(dtype).softmax(dim=-1)
    heat = rearrange(heat, "b k (h w) -> b k h w", h=height)
    x = torch.linspace(-1, 1, width, dtype=dtype, device=logits.device)
    y = torch.linspace(-1, 1, height, dtype=dtype, device=logits.device)
    return torch.stack([heat.sum(dim=2) @ x, heat.sum(dim=3) @ y], dim=-1)
