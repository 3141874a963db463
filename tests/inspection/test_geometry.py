"""What maps see, held against the closed formulas and against figures that were published."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eyehand.functional.receptive_field import Kernel, receptive_field, unused_share
from eyehand.inspection.findings import Finding, Place
from eyehand.inspection.geometry import PICTURE, MapGeometry, measure_geometry
from eyehand.models.registry import build_network
from eyehand.models.vision.patch_encoder import PatchEncoder
from eyehand.models.vision.unet import UNet
from eyehand.models.vision.vit import ViT
from eyehand.nn.squeeze_excitation import SqueezeExcitation


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def look(network: nn.Module, height: int, width: int | None = None) -> list[MapGeometry]:
    channels = next(w.shape[1] for w in network.parameters() if w.ndim == 4)
    picture = torch.zeros(1, channels, height, width or height)
    return list(measure_geometry(network, picture).maps)


def test_random_stacks_equal_the_formulas() -> None:
    generator = random.Random(0)
    for _ in range(8):
        layers, windows = [], ([], [])
        for _ in range(generator.randint(1, 4)):
            height, width = (
                Kernel(generator.randint(1, 5), generator.randint(1, 3), 0, generator.randint(1, 3))
                for _ in range(2)
            )
            height, width = (
                window._replace(padding=generator.randint(0, window.kernel_size // 2))
                for window in (height, width)
            )
            settings = list(zip(height, width, strict=True))
            layers.append(nn.Conv2d(1, 1, settings[0], settings[1], settings[2], settings[3]))
            windows[0].append(height)
            windows[1].append(width)
        last = look(nn.Sequential(*layers), 300, 260)[-1]
        for axis, passed in zip((last.height, last.width), windows, strict=True):
            want = receptive_field(passed)
            assert (axis.size, axis.jump, axis.centre) == (want.size, want.jump, want.centre)
            assert axis.low == want.start
            assert axis.exact


def fields(maps: list[MapGeometry]) -> dict[str, tuple[float | None, int, float | None]]:
    return {one.layer: (one.width.jump, one.width.size, one.width.centre) for one in maps}


def test_networks_of_ours_are_seen_as_published() -> None:
    """Of ResNet-18 by hand; of VGG: Araujo et al., 2019, "Computing receptive fields"."""
    with torch.device("meta"):  # only the shapes of the weights count
        residual, plain = build_network("resnet18", classes=2), build_network("vgg11", classes=2)
    seen = fields(look(residual, 96))
    assert seen["conv1"] == (2, 7, 0.0)
    assert seen["layer1.1"] == (4, 43, 0.0)
    assert seen["layer2.0.downsample.0"] == (8, 43, 0.0)
    assert seen["layer2.1"] == (8, 99, 0.0)
    assert fields(look(plain, 128))["features.15"] == (16, 70, 7.5)
    assert fields(look(PatchEncoder((4, 6, 8)), 96)) == {
        "stem": (4, 4, 1.5), "to_middle": (8, 12, 1.5), "to_coarse": (16, 28, 1.5), "": (4, 4, 1.5),
    }  # fmt: skip


def test_a_field_larger_than_the_picture_is_known_while_the_outer_cells_show_its_ends() -> None:
    stack = nn.Sequential(*(nn.Conv2d(1, 1, 9, padding=4) for _ in range(4)))
    assert fields(look(stack, 24))["3"] == (1, 33, 0.0)
    # Cells in pairs, of which the first two are 16 pixels apart and the others 8 on average.
    assert fields(look(UNet(classes=2, dim=4, depth=4), 96))["merge.0.0"] == (None, 96, None)
    (*_, last) = look(stack, 12)
    assert (last.height.size, last.height.jump, last.height.everything) == (12, None, True)


@pytest.mark.parametrize(
    ("layer", "want"),
    [
        (nn.ConvTranspose2d(1, 1, 2, 2), (2, 6, 0.5)),  # cells come in pairs
        (nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), (2, 8, 1.5)),
        (nn.ConvTranspose2d(1, 1, 5, 3, 1), (4 / 3, 9, 1 / 6)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 10, 0.5)),
    ],
    ids=["pairs", "overlapping", "thirds", "bilinear"],
)
def test_enlarged_maps_are_told_by_their_hull(
    layer: nn.Module, want: tuple[float, int, float]
) -> None:
    """By hand: every cell reads one or two of the cells before it, which see 4 pixels each."""
    last = look(nn.Sequential(nn.Conv2d(1, 1, 4, 4), layer), 96)[-1]
    assert (last.width.jump, last.width.size, last.width.centre) == pytest.approx(want)
    assert not last.width.exact


def test_what_joins_is_a_union_and_a_gate_sees_everything() -> None:
    maps = look(UNet(classes=2, dim=4, depth=1), 48)
    assert maps[-1].width.jump == 1
    gated = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), SqueezeExcitation(4, reduction=2))
    before, after = look(gated, 16)[0], look(gated, 16)[-1]
    assert (before.height.size, before.height.everything) == (3, False)
    assert (after.height.size, after.height.jump, after.height.everything) == (16, None, True)


def test_patches_see_themselves_and_tokens_everything() -> None:
    network = ViT(8, depth=1, heads=2, patch_size=8, image_size=32, classes=3)
    maps = {one.layer: one for one in look(network, 32)}
    assert (maps["conv_proj"].height.size, maps["conv_proj"].dims) == (8, (2, 3))
    assert (maps["encoder"].height.everything, maps["encoder"].dims) == (True, None)
    patches = nn.Sequential(nn.Conv2d(3, 8, 8, 8), Apply(lambda x: x.flatten(2).transpose(1, 2)))
    assert look(patches, 32)[-1].width.size == 8


def test_channels_may_stand_last() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 4, 4), Apply(lambda x: x.permute(0, 2, 3, 1)))
    last = look(network, 32, 64)[-1]
    assert last.dims == (1, 2)
    assert (last.height.size, last.width.jump) == (4, 4)


def test_a_layer_without_gradient_is_told_and_not_fatal() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Apply(lambda x: x.detach()), nn.ReLU())
    first, cut, after, _ = look(network, 10)
    assert first.unknown is None
    assert "No gradient flows back to the picture" in (cut.unknown or "")
    assert after.height is None


def test_layers_called_twice_are_told_by_their_first_call() -> None:
    pool = nn.MaxPool2d(2)
    maps = measure_geometry(nn.Sequential(pool, pool), torch.zeros(1, 1, 16, 16)).maps
    assert [(one.layer, one.height.jump) for one in maps] == [("0", 2), ("", 4)]


def test_cells_that_nothing_reads() -> None:
    class Block(nn.Module):
        def __init__(self, kernel_size: int) -> None:
            super().__init__()
            self.before = nn.Conv2d(2, 2, 3, padding=1)
            self.shortcut = nn.Conv2d(2, 2, 1, stride=2)
            self.long = nn.Conv2d(2, 2, kernel_size, stride=2, padding=kernel_size // 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.before(x)
            return self.shortcut(x) + self.long(x)

    def unread(network: nn.Module, size: int = 16) -> tuple[Place, ...]:
        return found(network, size)["Unread cells"].places

    text = "75 % of its cells are never read"
    assert unread(Block(3)) == ()
    assert unread(Block(1)) == (("before", text),)
    assert unread(nn.Conv2d(2, 2, 2, stride=4)) == ((PICTURE, text),)
    assert unread(nn.MaxPool2d(2), 15) == ()  # a last row


def test_names_inside_a_larger_network() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3, stride=4), nn.Conv2d(2, 2, 9, padding=4))
    seen = measure_geometry(network, torch.zeros(1, 2, 16, 16), name="eye")
    assert [one.layer for one in seen.maps] == ["eye.0", "eye.1", "eye"]
    places = {one.name: [place.layer for place in one.places] for one in seen.findings}
    assert (places["Unread cells"], places["Kernel and map"]) == ([PICTURE], ["eye.1"])
    assert [one.spatial for one in seen.maps] == [True, True, True]


def test_the_network_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    look(network, 8)
    assert all(part.training for part in network.modules())
    assert not any(part._forward_hooks for part in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def found(network: nn.Module, size: int = 64) -> dict[str, Finding]:
    geometry = measure_geometry(network, torch.zeros(1, 2, size, size))
    return {one.name: one for one in geometry.findings}


def dilated(*dilations: int) -> list[nn.Module]:
    return [nn.Conv2d(2, 2, 3, dilation=d, padding=d) for d in dilations]


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).relu()
        return x


def test_gridding_is_the_share_of_the_formula() -> None:
    (place,) = found(nn.Sequential(*dilated(2, 2, 2)))["Gridding"].places
    share = 100 * unused_share([2, 2, 2], kernel_size=3)
    assert place == ("2", f"a cell leaves out {share:.0f} % of the pixels of its 13x13 field")
    assert found(Residual(*dilated(2, 2)))["Gridding"].verdict == "look here"
    for network in (nn.Sequential(*dilated(1, 2, 5)), nn.Sequential(*dilated(2, 2, 1))):
        assert found(network)["Gridding"].verdict == "ok"


def test_unread_cells_and_kernels_that_are_too_large() -> None:
    network = nn.Sequential(*dilated(1), nn.Conv2d(2, 2, 1, 2), *dilated(6))
    findings = found(network, 16)
    assert findings["Unread cells"].places == (("0", "75 % of its cells are never read"),)
    (place,) = findings["Kernel and map"].places
    assert place == ("2", "a 13x13 kernel, holes included, reads a 8x8 map")
    fine = found(nn.Sequential(*dilated(1, 1)), 16)
    assert fine["Unread cells"].verdict == fine["Kernel and map"].verdict == "ok"


def test_the_largest_field_against_the_picture() -> None:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]
    (place,) = found(nn.Sequential(*dilated(1, 1), *head))["Receptive field"].places
    assert place == ("1", "a cell sees 5x5 pixels of a picture of 64x64, no other map's sees more")
    enough = found(nn.Sequential(nn.Conv2d(2, 2, 17, padding=8), *head), 16)["Receptive field"]
    assert (enough.verdict, enough.places) == ("ok", ())  # 17x17 of 16x16
    assert "nothing to do" in enough.advice
