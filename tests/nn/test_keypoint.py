import pytest
import torch

from eyehand.nn.keypoint import spatial_soft_argmax


def test_a_gaussian_is_found_between_cells() -> None:
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    logits = -((x - 7.3) ** 2 + (y - 15.6) ** 2) / 4
    got = spatial_soft_argmax(logits.double()[None, None])
    want = torch.tensor([[[2 * 7.3 / 23 - 1, 2 * 15.6 / 23 - 1]]]).double()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shape", "axis", "cells"), [((3, 5), 0, 5), ((3, 5), 1, 3)])
def test_shifting_the_map_shifts_the_point(shape: tuple[int, int], axis: int, cells: int) -> None:
    logits = torch.full((1, 1, *shape), -50.0)
    logits[0, 0, 1, 1] = 0.0
    shifted = logits.roll(1, dims=3 - axis)
    moved = (spatial_soft_argmax(shifted) - spatial_soft_argmax(logits))[0, 0]
    assert moved[axis] == pytest.approx(2 / (cells - 1), abs=1e-5)
    assert moved[1 - axis] == pytest.approx(0, abs=1e-5)


def test_half_precision_maps_give_full_precision_points() -> None:
    logits = torch.randn(2, 3, 8, 8)
    got = spatial_soft_argmax(logits.bfloat16())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, spatial_soft_argmax(logits.bfloat16().float()))
    assert spatial_soft_argmax(logits.double()).dtype == torch.float64
