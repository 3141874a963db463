"""Fourier features: the formula by hand, and what they are for."""

import math

import pytest
import torch

from eyehand.nn.fourier import fourier_features


def test_by_hand() -> None:
    x = torch.tensor([[0.25, -1.0]], dtype=torch.float64)
    expected = [
        *(0.25, -1.0),
        *(math.sin(math.pi / 4), math.sin(math.pi / 2), math.sin(-math.pi), math.sin(-2 * math.pi)),
        *(math.cos(math.pi / 4), math.cos(math.pi / 2), math.cos(-math.pi), math.cos(-2 * math.pi)),
    ]
    torch.testing.assert_close(
        fourier_features(x, octaves=2), torch.tensor([expected], dtype=torch.float64)
    )


def test_no_octaves_change_nothing() -> None:
    x = torch.randn(3, 2, 5)
    assert torch.equal(fourier_features(x, octaves=0), x)


@pytest.mark.parametrize("octaves", [1, 4])
def test_a_small_step_is_as_large_as_the_finest_wave_makes_it(octaves: int) -> None:
    step = 1e-4
    x = torch.tensor([[0.3], [0.3 + step]], dtype=torch.float64)
    one, other = fourier_features(x, octaves=octaves)
    slopes = [math.pi * 2**k for k in range(octaves)]
    expected = step * math.sqrt(1 + sum(slope**2 for slope in slopes))
    assert (other - one).norm().item() == pytest.approx(expected, rel=1e-5)
