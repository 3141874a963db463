"""Where a token stands: rotary positions for attention, sinusoids for a moment in time."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def rotary(
    x: Float[Tensor, "*batch position dim"], position: Int64[Tensor, " position"]
) -> Float[Tensor, "*batch position dim"]:
    r"""Turn pairs of channels by angles that grow with the position (Su et al., 2021, sec. 3.2).

    .. math:: (x_i, x_{i + d/2}) \mapsto R(p\,\theta_i)\,(x_i, x_{i + d/2}), \qquad
              \theta_i = 10000^{-2i/d}

    Queries and keys that are turned this way have a product that depends on how far apart they
    stand, not on where. Channel ``i`` is paired with ``i + d/2``, as in Llama, not with its
    neighbour, as in the paper: the same up to the order of the channels.

    Args:
        x: Queries or keys of one head; ``dim`` is even.
        position: Of each row, counted in tokens.

    Raises:
        ValueError: If ``dim`` is odd.

    References:
        Su et al., 2021, https://arxiv.org/abs/2104.09864.

    Example:
        >>> rotary(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor([[1., 0.]])
    """
    dim = x.shape[-1]
    if dim % 2:
        raise ValueError(f"`dim` of rotary positions must be even; got {dim}.")
    wave = 10_000.0 ** (-torch.arange(0, dim, 2, device=x.device, dtype=torch.float64) / dim)
    angle = position[:, None] * wave
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def sinusoids(
    time: Float[Tensor, " batch"], *, dim: int, shortest: float, longest: float
) -> Float[Tensor, "batch dim"]:
    r"""Return sines, then cosines, of a moment at periods in geometric steps.

    The positions of Vaswani et al. (2017, sec. 3.5) for a number that is no count of tokens: the
    step of a diffusion, or the time of a flow in [0, 1]. The periods must fit its range: pi0 takes
    4e-3 to 4 for [0, 1]; steps of a diffusion ask for 2 pi to 2 pi 10,000.

    Args:
        time: One moment a row.
        dim: Numbers that come out, even, at least 4.
        shortest: Period of the first pair, > 0.
        longest: Period of the last pair.

    Raises:
        ValueError: If ``dim`` is odd or below 4.

    References:
        Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; periods of pi0: Black et al., 2024,
        https://arxiv.org/abs/2410.24164, and its code (openpi).

    Example:
        >>> sinusoids(torch.zeros(1), dim=4, shortest=0.004, longest=4.0)
        tensor([[0., 0., 1., 1.]])
    """
    if dim % 2 or dim < 4:
        raise ValueError(f"`dim` of sinusoids must be even and at least 4; got {dim}.")
    fraction = torch.linspace(0, 1, dim // 2, device=time.device, dtype=torch.float64)
    period = shortest * (longest / shortest) ** fraction
    angle = (2 * math.pi * time[:, None].double() / period).to(time.dtype)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
