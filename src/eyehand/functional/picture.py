"""Pictures as networks read them."""

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor


def scale_image(
    image: UInt8[Tensor, "batch height width channel"],
) -> Float[Tensor, "batch channel height width"]:
    """Return pictures in [-1, 1], channels first by axis and last in memory.

    Under autocast they come out in its type, so that nothing is converted twice.

    Example:
        >>> scale_image(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
        tensor([1., 1., 1.])
    """
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    return rearrange(image.to(dtype) / 127.5 - 1, "b h w c -> b c h w")
