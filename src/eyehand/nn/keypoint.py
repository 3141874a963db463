"""Heat maps: the expected position of each, and a loss that teaches where it should be."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


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


def heat_map_loss(
    logits: Float[Tensor, "batch keypoint height width"],
    position: Float[Tensor, "batch keypoint 2"],
) -> Float[Tensor, "batch keypoint"]:
    """Return the cross-entropy of each heat map with a point, spread over the four cells around it.

    The spread is bilinear, so that the expected position under the target is the point itself.
    Points beyond the centres of the outermost cells are moved there; those outside the picture
    (beyond 1) cost nothing.

    Args:
        logits: Heat maps before the softmax.
        position: (x, y), x to the right and y down, -1 and 1 at the picture's edges.

    Example:
        >>> logits = torch.zeros(1, 1, 4, 4)
        >>> heat_map_loss(logits, torch.zeros(1, 1, 2)).exp()
        tensor([[16.]])
    """
    height, width = logits.shape[-2:]
    size = torch.tensor([width, height], device=logits.device)
    cell = ((position + 1) / 2 * size - 0.5).clamp(min=0).minimum(size - 1.001)
    first = cell.floor()
    share = cell - first
    column, row = first.long().unbind(-1)
    log_probability = F.log_softmax(logits.flatten(2).float(), dim=-1)
    loss = torch.zeros_like(share[..., 0])
    for right in (0, 1):
        for down in (0, 1):
            weight_x = share[..., 0] if right else 1 - share[..., 0]
            weight_y = share[..., 1] if down else 1 - share[..., 1]
            place = (row + down) * width + column + right
            loss -= weight_x * weight_y * log_probability.gather(2, place[..., None])[..., 0]
    return loss * (position.abs() <= 1).all(dim=-1)
