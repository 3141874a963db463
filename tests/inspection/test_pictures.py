"""Pictures equal what formulas give, and the network stays as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.pictures import (
    VIRIDIS,
    activation_maps,
    as_picture,
    class_activation_map,
    filters,
    grid,
    heat_map,
    input_gradient,
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


class Classifier(nn.Module):
    """Averages in its own forward, after an in-place activation and before dropout."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 4, bias=bias)

    def maps(self, image: Tensor) -> Tensor:
        return self.body(image)

    def forward(self, image: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.maps(image), 1).flatten(1)
        return self.head(F.dropout(pooled, training=self.training))


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_formula_and_the_logit(bias: bool) -> None:
    torch.manual_seed(0)
    model = Classifier(bias=bias).double()
    image = torch.randn(1, 3, 9, 7).double()
    maps, logits = model.maps(image)[0].detach(), model.eval()(image)[0]
    model.train()
    for index in range(4):
        values, _ = class_activation_map(model, image, class_index=index)
        want = np.zeros((7, 5))
        for channel in range(6):
            want += model.head.weight[index, channel].item() * maps[channel].numpy()
        np.testing.assert_allclose(values, want, rtol=0, atol=1e-12)
        offset = model.head.bias[index].item() if bias else 0.0
        assert values.mean() + offset == pytest.approx(logits[index].item(), abs=1e-12)
    assert class_activation_map(model, image)[1] == int(logits.argmax())
    assert model.training


def test_equals_the_gradients_of_the_logit() -> None:
    """Weights are the gradient of the logit by the map, times its cells (Grad-CAM)."""
    torch.manual_seed(0)
    model = Classifier().double().eval()
    image = torch.randn(1, 3, 9, 7).double()
    maps = model.maps(image).detach().requires_grad_(True)
    logit = model.head(maps.mean(dim=(2, 3)))[0, 2]
    (gradient,) = torch.autograd.grad(logit, maps)
    want = (gradient.sum(dim=(2, 3), keepdim=True) * maps).sum(dim=1)[0].detach()
    found = class_activation_map(model, image, class_index=2)[0]
    np.testing.assert_allclose(found, want.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "ending",
    [
        [nn.Flatten(), nn.Linear(6 * 16, 4)],
        [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 4)],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4), nn.Tanh()],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, 4)],
        [nn.AdaptiveAvgPool2d(1)],
    ],
)
def test_other_endings_are_refused(ending: list[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), *ending)
    with pytest.raises(ValueError, match="ends in an average over space and one linear layer"):
        class_activation_map(model, torch.randn(1, 3, 6, 6))


def test_a_class_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 to 3\. Got 4"):
        class_activation_map(Classifier(), torch.randn(1, 3, 6, 6), class_index=4)
