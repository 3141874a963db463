"""Fourier features: sines and cosines of a number, in which small differences become large."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MOST_OCTAVES = 24
"""Waves beyond are finer than the numbers of single precision."""


def fourier_features(
    x: Float[Tensor, "*batch dim"], *, octaves: int
) -> Float[Tensor, "*batch features"]:
    r"""Return :math:`x, \sin(2^k \pi x), \cos(2^k \pi x)` for :math:`k` from 0 to ``octaves`` - 1.

    A multi-layer perceptron learns coarse functions of its inputs first; for a hand that must stop
    within a centimetre the fine ones matter (Tancik et al., 2020, sec. 5).

    Args:
        x: Numbers of about unit size.
        octaves: Wave lengths, the longest 2, each half of the one before.

    Returns:
        ``dim * (1 + 2 * octaves)`` features: the numbers, all sines, all cosines.

    References:
        Tancik et al., 2020, https://arxiv.org/abs/2006.10739;
        Mildenhall et al., 2020, eq. 4, https://arxiv.org/abs/2003.08934.

    Example:
        >>> fourier_features(torch.tensor([0.5]), octaves=1).round()
        tensor([0., 1., -0.])
    """
    scale = math.pi * 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device)
    waves = (x[..., None] * scale).flatten(-2)
    return torch.cat([x, waves.sin(), waves.cos()], dim=-1)
