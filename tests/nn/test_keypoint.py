import pytest
import torch

from eyehand.nn.keypoint import heat_map_loss, spatial_soft_argmax


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


def test_the_loss_by_hand() -> None:
    logits = torch.randn(1, 1, 4, 6)
    # In cells the point is at column 2.25, row 1.5.
    position = torch.tensor([[[2 * 2.75 / 6 - 1, 2 * 2.0 / 4 - 1]]])
    log = logits.flatten().log_softmax(0).view(4, 6)
    want = -(0.375 * (log[1, 2] + log[2, 2]) + 0.125 * (log[1, 3] + log[2, 3]))
    torch.testing.assert_close(heat_map_loss(logits, position)[0, 0], want)


def test_the_minimum_of_the_loss_has_its_mean_at_the_point() -> None:
    """Cross-entropy is least where the heat map is the target, whose mean is the point."""
    logits = torch.zeros(1, 1, 6, 6, requires_grad=True)
    position = torch.tensor([[[0.31, -0.42]]])
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(150):
        optimizer.zero_grad()
        heat_map_loss(logits, position).sum().backward()
        optimizer.step()
    found = spatial_soft_argmax(logits.detach()) * (1 - 1 / 6)  # centres to edges
    torch.testing.assert_close(found, position, rtol=0, atol=2e-3)


def test_points_outside_the_picture_cost_nothing_and_those_at_its_edge_do() -> None:
    logits = torch.randn(1, 3, 4, 4)
    position = torch.tensor([[[1.2, 0.0], [1.0, -1.0], [0.0, -1.01]]])
    loss = heat_map_loss(logits, position)[0]
    assert loss[0] == loss[2] == 0
    torch.testing.assert_close(
        loss[1], -logits[0, 1].flatten().log_softmax(0)[3], rtol=1e-2, atol=0
    )
