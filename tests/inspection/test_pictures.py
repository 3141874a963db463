"""Pictures equal what formulas give, and the network stays as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyehand.inspection.pictures import (
    VIRIDIS,
    activation_maps,
    as_picture,
    filters,
    grid,
    heat_map,
    input_gradient,
    layer_output,
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


def test_a_layers_output_is_taken_before_it_is_overwritten() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    x = torch.randn(4, 2)
    torch.testing.assert_close(layer_output(model, (x,), "0"), model[0](x))
    assert not model[0]._forward_hooks


def test_layers_that_are_missing_or_idle_are_refused() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.idle = nn.Conv2d(3, 2, 1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x).mean(dim=(2, 3))

    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"no layer 'encodr'\. Did you mean 'encoder'"):
        layer_output(Lazy(), (x,), "encodr")
    with pytest.raises(ValueError, match="'idle' of Lazy was not called"):
        layer_output(Lazy(), (x,), "idle")
    with pytest.raises(ValueError, match=r"Layer '' returned \(1, 2\)"):
        activation_maps(Lazy(), (x,), "")


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
