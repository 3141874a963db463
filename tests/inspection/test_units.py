"""What a unit likes is found: planted patterns come back, by ascent and among pictures."""

import pytest
import torch
from torch import nn

from eyehand.inspection.geometry import measure_geometry
from eyehand.inspection.units import gradient_ascent, nearest_patches


def edges() -> nn.Conv2d:
    """Channel 0 likes bright right of dark, channel 1 bright below dark."""
    layer = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        right = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3)
        layer.weight[:] = torch.stack([right, right.T])[:, None]
    return layer


def test_ascent_excites_its_unit_and_no_other() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(edges(), nn.ReLU(inplace=True), nn.Conv2d(2, 3, 1))
    made, before, after = gradient_ascent(model, "1", 0, image_size=12, channels=1, steps=40)
    assert after > before + 0.5
    grey = made[..., 0].astype(float)
    assert abs(grey[:, 1:] - grey[:, :-1]).mean() > 2 * abs(grey[1:] - grey[:-1]).mean()
    again, *_ = gradient_ascent(model, "1", 0, image_size=12, channels=1, steps=40)
    assert (again == made).all()
    assert all(weight.requires_grad for weight in model.parameters())
    assert not model[1]._forward_hooks


def test_ascent_on_a_vector_maximises_one_number() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5))
    _, before, after = gradient_ascent(model, "", 3, image_size=4, steps=30)
    assert after > before


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


def test_unknown_layers_and_channels_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="no layer '1'"):
        gradient_ascent(model, "1", 0, image_size=8)
    with pytest.raises(ValueError, match=r"returned \(1, 4, 6, 6\): there is no channel 4"):
        gradient_ascent(model, "0", 4, image_size=8)
    with pytest.raises(ValueError, match="there is no channel -1"):
        nearest_patches(model, "0", -1, torch.zeros(1, 3, 8, 8))
