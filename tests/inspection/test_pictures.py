"""Pictures equal what formulas give, and the network stays as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyehand.inspection.geometry import measure_geometry
from eyehand.inspection.pictures import (
    VIRIDIS,
    activation_maps,
    as_picture,
    filters,
    grid,
    heat_map,
    input_gradient,
    nearest_patches,
    overlay,
)


def test_the_color_map_is_matplotlibs() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 101)
    theirs = 255 * matplotlib.colormaps["viridis"](values)[:, :3]
    ours = heat_map(values[None])[0]
    assert np.abs(ours - theirs).max() <= 6  # straight lines between 17 of their 256 steps
    steps = 255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, 17))[:, :3]
    assert (steps.round() == VIRIDIS).all()


def test_a_heat_map_of_one_value_has_one_color() -> None:
    assert (heat_map(np.full((2, 3), 7.0)) == VIRIDIS[0]).all()
    assert (heat_map(np.array([[-5.0, 9.0]]), limits=(0.0, 1.0)) == VIRIDIS[[0, -1]]).all()


def test_pictures_keep_colors_and_show_other_channels_as_their_mean() -> None:
    red = torch.zeros(3, 2, 2)
    red[0] = 1
    assert (as_picture(red) == [255, 0, 0]).all()
    pair = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]])
    assert as_picture(pair, limits=(0.0, 1.0))[0].tolist() == [[0, 0, 0], [128, 128, 128]]


def test_a_grid_holds_every_picture_and_white_between() -> None:
    cells = [np.full((2, 3, 3), value, np.uint8) for value in range(5)]
    sheet = grid(cells)
    assert sheet.shape == (5, 11, 3)
    for index, cell in enumerate(cells):
        top, left = 3 * (index // 3), 4 * (index % 3)
        assert (sheet[top : top + 2, left : left + 3] == cell).all()
    assert (sheet[2] == 255).all()
    assert (sheet[3:, 8:] == 255).all()
    with pytest.raises(ValueError, match=r"one size. Got \[\(2, 3, 3\), \(4, 4, 3\)\]"):
        grid([cells[0], np.zeros((4, 4, 3), np.uint8)])


def test_filters_are_those_of_the_first_convolution_with_zero_in_grey() -> None:
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(3, 2, 2), nn.Conv2d(2, 9, 1)))
    with torch.no_grad():
        model[1][0].weight.zero_()
        model[1][0].weight[1, 2, 0, 1] = -0.3
    sheet = filters(model)
    assert sheet.shape == (2, 5, 3)
    assert (sheet[:, :2] == 128).all()
    assert sheet[0, 4].tolist() == [128, 128, 0]
    assert filters(nn.Conv2d(2, 3, 4)).shape == (2 * 5 - 1, 3 * 5 - 1, 3)
    with pytest.raises(ValueError, match="Linear has no `nn"):
        filters(nn.Linear(2, 2))


def test_only_a_map_has_channels_to_show() -> None:
    with pytest.raises(ValueError, match=r"Layer '1' returned \(1, 12\)"):
        activation_maps(nn.Sequential(nn.Identity(), nn.Flatten()), (torch.ones(1, 3, 2, 2),), "1")


def test_activation_maps_share_one_scale() -> None:
    model = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        model.weight[:] = torch.tensor([1.0, 0.5])[:, None, None, None]
    sheet = activation_maps(model, (torch.tensor([[[[0.0, 2.0]]]]),), "")
    want = heat_map(np.array([[0.0, 2.0], [0.0, 1.0]]), limits=(0.0, 2.0))
    assert (sheet[:, :2] == want[:1]).all()
    assert (sheet[:, 3:] == want[1:]).all()


def test_the_input_gradient_of_a_linear_network_is_its_largest_weight() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 5)).double().train()
    image = torch.randn(1, 2, 3, 4).double()
    top = int(model(image).argmax())
    want = model[1].weight[top].detach().reshape(2, 3, 4).abs().amax(dim=0)
    np.testing.assert_allclose(input_gradient(model, image), want.numpy(), rtol=0, atol=1e-12)
    assert model[1].weight.grad is None
    assert model.training


def test_the_input_gradient_says_where_there_is_none() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    with pytest.raises(ValueError, match="Cut's output reaches the picture"):
        input_gradient(Cut(), torch.ones(1, 3, 2, 2))


def test_the_gradient_of_a_map_is_that_of_all_its_squares() -> None:
    image = torch.tensor([[[[1.0, -2.0]]]])
    assert input_gradient(nn.Identity(), image).tolist() == [[2.0, 4.0]]


def test_an_overlay_is_bright_where_the_numbers_are() -> None:
    values = np.zeros((3, 3))
    values[2, 0] = 1
    shown = overlay(np.zeros((30, 30, 3), np.uint8), values)
    assert shown[28, 1, 1] > 100
    assert shown[1, 28, 1] < 10


def edges() -> nn.Conv2d:
    """Channel 0 likes bright right of dark, channel 1 bright below dark."""
    layer = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        right = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3)
        layer.weight[:] = torch.stack([right, right.T])[:, None]
    return layer


def test_patches_are_cut_where_the_unit_looks() -> None:
    model = nn.Sequential(nn.Identity(), edges(), nn.ReLU())
    images = torch.zeros(40, 1, 16, 16)
    images[7, 0, 4:7, 9] = 0.5
    images[33, 0, 8:11, 5] = 1.0  # in the second batch
    images[12, 0, :, 15] = 0.25  # its strongest place is the border
    geometry = next(row for row in measure_geometry(model, images[:1]).maps if row.layer == "1")
    found = nearest_patches(model, "1", 0, images, geometry=geometry, count=3)
    assert [place[:2] for place in found] == [(33, 3.0), (7, 1.5), (12, 0.75)]
    for (_, _, patch), brightness in zip(found, (255, 128, 64), strict=True):
        assert patch.shape == (3, 3, 3)
        assert (patch[:, :2] == 0).all()
        assert (patch[:, 2] == brightness).all()


def test_outside_of_the_picture_is_grey() -> None:
    images = torch.zeros(1, 1, 6, 6)
    images[0, 0, 0] = 1.0
    model = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(model.weight)
    geometry = measure_geometry(model, images).maps[0]
    # Three bright pixels at the top row, all but the corners of which are equally good.
    ((_, _, found),) = nearest_patches(model, "", 0, images, geometry=geometry, count=1)
    patch = found[..., 0]
    assert (patch[0] == 128).all()
    assert (patch[1] == 255).all()
    assert (patch[2] == 0).all()


def test_without_a_place_the_whole_picture_is_shown() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5))
    images = torch.rand(6, 3, 4, 4)
    found = nearest_patches(model, "1", 2, images, count=2)
    assert [patch.shape for _, _, patch in found] == [(4, 4, 3)] * 2
    assert [index for index, _, _ in found] == model(images)[:, 2].argsort().flip(0)[:2].tolist()


def test_a_channel_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned \(1, 4, 6, 6\): there is no channel 4"):
        nearest_patches(nn.Conv2d(3, 4, 3), "", 4, torch.zeros(1, 3, 8, 8))
