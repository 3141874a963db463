"""What heads do with chunks of labels and with chance."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def hold_last(
    action: Float[Tensor, "*batch horizon action"], mask: Bool[Tensor, "*batch horizon"]
) -> Float[Tensor, "*batch horizon action"]:
    """Replace the labels after an episode's end by its last one; without any label by zeros.

    Heads that read a chunk as a whole (its spectrum, its code) need all of it; what stands in the
    padding must not count.

    Example:
        >>> action = torch.tensor([[[1.0], [2.0], [9.0]]])
        >>> hold_last(action, torch.tensor([[True, True, False]]))[0, :, 0]
        tensor([1., 2., 2.])
    """
    last = mask.sum(dim=-1, keepdim=True) - 1
    step = torch.arange(mask.shape[-1], device=mask.device).minimum(last.clamp(min=0))
    held = action.gather(-2, step[..., None].expand_as(action))
    return held.masked_fill((last < 0)[..., None], 0.0)


def row_generators(seed: Int64[Tensor, " batch"]) -> list[torch.Generator]:
    """Return a generator a row: what is drawn does not depend on the rows beside it."""
    return [torch.Generator().manual_seed(int(one)) for one in seed]


def row_noise(
    seed: Int64[Tensor, " batch"], *, horizon: int, action_dim: int
) -> Float[Tensor, "batch horizon action"]:
    """Return normal noise that each row's seed alone decides."""
    rows = [
        torch.randn(horizon, action_dim, generator=generator) for generator in row_generators(seed)
    ]
    return torch.stack(rows).to(seed.device)
