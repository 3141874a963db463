"""What every policy does with its inputs: check that they fit, and derive seeds from them."""

import zlib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from eyehand.types import InputError


def check_inputs(
    image: Mapping[str, Tensor],
    state: Tensor,
    *,
    cameras: Sequence[str],
    image_size: int,
    state_dim: int,
) -> None:
    """Check that pictures and states have the shapes that the policy was made for.

    Args:
        image: Pictures by camera, (..., height, width, 3).
        state: (..., state).
        cameras: Names that the policy reads; others are ignored.
        image_size: Height and width that it reads, in pixels.
        state_dim: Numbers in a state.

    Raises:
        InputError: If a camera is missing, or a size differs.
    """
    if state.shape[-1] != state_dim:
        raise InputError(
            f"state has {state.shape[-1]} numbers per step, "
            f"the checkpoint was trained on {state_dim}."
        )
    for camera in cameras:
        if camera not in image:
            raise InputError(
                f"the checkpoint reads camera {camera!r}, the observation has {sorted(image)}."
            )
        height, width = image[camera].shape[-3:-1]
        if (height, width) != (image_size, image_size):
            raise InputError(
                f"camera {camera!r} gives pictures of {height}x{width} pixels, "
                f"the checkpoint was trained on {image_size}x{image_size}."
            )


def row_seeds(
    state: Float[Tensor, "batch state"], generator: torch.Generator | None = None
) -> Int64[Tensor, " batch"]:
    """Return a seed a row, for heads that draw at random.

    Without a generator it comes from the bits of the robot's state: an episode is the same again,
    whatever robots stand beside it, and two states draw differently. From a generator every row
    gets a seed of its own, so that rollouts from one start differ.

    Example:
        >>> row_seeds(torch.tensor([[0.0], [1.0], [0.0]])).tolist()
        [558161692, 2896259690, 558161692]
    """
    if generator is not None:
        return torch.randint(2**32, (len(state),), generator=generator).to(state.device)
    rows = state.detach().to("cpu", torch.float32).numpy()
    return torch.tensor([zlib.crc32(row.tobytes()) for row in rows], device=state.device)
