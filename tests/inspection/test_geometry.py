import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.receptive_field import Window, receptive_field
from eyehand.inspection.geometry import MapGeometry, feature_map_geometry
from eyehand.inspection.gradient import gradient_support
from eyehand.models.vision.patch_encoder import PatchEncoder, PatchTokens
from eyehand.models.vision.registry import (
    DENSE_NETWORKS,
    FIXED_SIZE,
    NETWORKS,
    build_dense_network,
    build_network,
)
from eyehand.models.vision.unet import UNet
from eyehand.models.vision.vit import ViT


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


class Branches(nn.Module):
    """Runs modules side by side and joins what they return."""

    def __init__(self, join: Callable[[list[Tensor]], Tensor], *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join([branch(x) for branch in self.branches])


def convolution(channels: int, out: int, size: int | tuple[int, int], **settings: int) -> nn.Module:
    kernel = (size, size) if isinstance(size, int) else size
    settings.setdefault("padding", kernel[0] // 2) if isinstance(size, int) else None
    return nn.Conv2d(channels, out, kernel, **settings)


def box(support: Tensor) -> tuple[range, range]:
    """Return the rows and columns of the smallest box around what is True."""
    return tuple(
        range(int(line.nonzero()[0]), int(line.nonzero()[-1]) + 1) if line.any() else range(0)
        for line in (support.any(dim=1), support.any(dim=0))
    )


def within(inner: range, outer: range) -> bool:
    return not inner or (outer.start <= inner.start and inner.stop <= outer.stop)


def interior(found: MapGeometry, cell: list[int]) -> bool:
    """Whether what a cell sees lies in the picture, so that no padding is seen."""
    return all(
        axis.low is not None
        and axis.low + place * axis.jump >= 0
        and axis.high + place * axis.jump < axis.pixels
        for axis, place in zip((found.height, found.width), cell, strict=True)
    )


def check_against_gradient(
    network: nn.Module,
    picture: Tensor,
    *,
    exact: bool,
    layers: list[str] | None = None,
    axes: tuple[int, int] = (2, 3),
) -> int:
    """Compare each map's geometry with its gradient; return how many cells had to be equal."""
    equal = 0
    for found in feature_map_geometry(network, picture, axes=axes):
        if layers is not None and found.layer not in layers:
            continue
        assert found.unknown is None, found
        cell = [0, 0]
        index: list[int | slice] = [slice(None)] * len(found.shape)
        for axis, sees in enumerate((found.height, found.width)):
            if sees.dim is not None:
                cell[axis] = index[sees.dim] = found.shape[sees.dim] // (2 + axis)
        index = tuple(index)
        support = gradient_support(
            network, (picture,), found.layer, index, call=found.call, output=found.output, axes=axes
        )
        got, want = found.support(index), box(support)
        place = found.layer, found.kind, index
        assert all(map(within, want, got)), (place, got, want)
        if exact and found.height.exact and found.width.exact and interior(found, cell):
            assert got == want, (place, got, want)
            equal += 1
    return equal


def squeeze_excitation(channels: int) -> nn.Module:
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())
    return Branches(lambda maps: maps[0] * maps[1], nn.Identity(), gate)


def residual(channels: int) -> nn.Module:
    path = nn.Sequential(
        convolution(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        convolution(8, 8, 3), nn.BatchNorm2d(8),
    )  # fmt: skip
    shortcut = nn.Sequential(nn.Conv2d(channels, 8, 1, stride=2), nn.BatchNorm2d(8))
    return nn.Sequential(Branches(lambda maps: maps[0] + maps[1], path, shortcut), nn.ReLU())


EXACT = {
    "vgg": lambda: nn.Sequential(
        convolution(3, 4, 3), nn.ReLU(), convolution(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2),
        convolution(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
    ),
    "overlapping pooling": lambda: nn.Sequential(
        convolution(3, 4, 5, stride=2, padding=0), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1)
    ),
    "residual": lambda: nn.Sequential(residual(3), residual(8)),
    "inception": lambda: nn.Sequential(
        convolution(3, 4, 3),
        Branches(
            lambda maps: torch.cat(maps, dim=1),
            nn.Conv2d(4, 2, 1),
            convolution(4, 2, 3),
            nn.Sequential(nn.Conv2d(4, 2, 1), convolution(2, 2, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(4, 2, 1)),
        ),
        convolution(8, 4, 3, stride=2),
    ),
    "dilated": lambda: nn.Sequential(
        convolution(3, 4, 3, dilation=1), convolution(4, 4, 3, dilation=2, padding=2),
        convolution(4, 4, 3, dilation=5, padding=5),
    ),
    "separable": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (5, 1), (2, 1), (2, 0)),
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.GELU(), nn.Conv2d(4, 8, 1),
    ),
    "patch encoder": lambda: PatchEncoder((4, 6, 8)),
    "mirrored": lambda: nn.Sequential(
        convolution(3, 4, 4, padding=1, stride=2), Apply(lambda x: x.flip(2)), convolution(4, 4, 3)
    ),
    "unpooled": lambda: nn.Sequential(
        convolution(3, 4, 3, stride=2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 1)
    ),
    "transposed": lambda: nn.Sequential(
        convolution(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 4, 2, stride=2)
    ),
    "sliced": lambda: nn.Sequential(
        convolution(3, 4, 3), Apply(lambda x: x[:, :, 1:-1:2, 2:]), convolution(4, 4, 3)
    ),
    "shuffled": lambda: nn.Sequential(
        nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 3, padding=1), nn.ChannelShuffle(3),
        nn.PixelShuffle(2), nn.Conv2d(3, 4, 1),
    ),
    "channels last inside": lambda: nn.Sequential(
        convolution(3, 4, 3), Apply(lambda x: x.permute(0, 2, 3, 1)), nn.Linear(4, 6),
        nn.LayerNorm(6), Apply(lambda x: torch.einsum("bhwc->bchw", x)), convolution(6, 2, 3),
    ),
}  # fmt: skip


IN_PAIRS = {"unpooled", "transposed", "shuffled"}


@pytest.mark.parametrize("name", EXACT)
def test_plain_networks_equal_their_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = EXACT[name]()
    last = feature_map_geometry(network, torch.zeros(1, 3, 32, 48))[-1]
    # Cells that come in pairs are known one by one, but no line runs through what they see.
    assert last.height.exact == last.width.exact == (name not in IN_PAIRS)
    assert check_against_gradient(network, torch.zeros(2, 3, 32, 48), exact=True) >= 1


def written(x: Tensor) -> Tensor:
    """Pad by writing into a part of a new tensor."""
    longer = x.new_zeros(*x.shape[:2], x.shape[2] + 3, x.shape[3])
    longer[:, :, 1:-2] = x
    return longer


def overwritten(x: Tensor) -> Tensor:
    """Swap two halves in place, through views."""
    other = x.clone()
    other[:, :, : x.shape[2] // 2] = x[:, :, x.shape[2] // 2 :]
    return other


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).view_as(x)


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear by 1.5": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "bilinear smaller": lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"),
    "bilinear antialiased": lambda x: F.interpolate(
        x, size=(5, 7), mode="bilinear", antialias=True
    ),
    "aligned corners": lambda x: F.interpolate(x, size=9, mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, scale_factor=3, mode="bicubic"),
    "nearest to any size": lambda x: F.interpolate(x, size=(11, 17)),
    "nearest exact": lambda x: F.interpolate(x, size=(11, 17), mode="nearest-exact"),
    "area": lambda x: F.interpolate(x, size=(3, 5), mode="area"),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "mean": lambda x: x - x.mean(dim=(2, 3), keepdim=True) / 2,
    "mean of rows": lambda x: x + x.mean(dim=2, keepdim=True),
    "flatten": lambda x: x.flatten(1) @ torch.ones(x[0].numel(), 3, dtype=x.dtype),
    "softmax": lambda x: x.flatten(2).softmax(dim=-1).view_as(x),
    "cumulative sum": lambda x: x.cumsum(dim=3),
    "roll": lambda x: x.roll((1, 2), dims=(2, 3)),
    "reflected": lambda x: F.pad(x, (2, 1, 1, 2), mode="reflect"),
    "circular": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "cropped": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "windows": lambda x: F.unfold(x, 3, padding=1, stride=2, dilation=2),
    "windows and back": lambda x: F.fold(
        F.unfold(x, (2, 3), stride=(2, 1)), x.shape[2:], (2, 3), stride=(2, 1)
    ),
    "overlapping views": lambda x: x.unfold(2, 3, 2).unfold(3, 2, 1).amax(dim=-1),
    "rows apart": lambda x: torch.stack(x.unbind(2), dim=-1),
    "halves exchanged": lambda x: torch.cat(x.chunk(2, dim=2)[::-1], dim=2),
    "chosen rows": lambda x: x[:, :, torch.tensor([0, 2, 3])],
    "rows in disorder": lambda x: x.index_select(2, torch.tensor([3, 0, 2, 0])),
    "gathered": lambda x: x.gather(3, torch.zeros(*x.shape[:3], 2, dtype=torch.int64)),
    "tiled": lambda x: x.repeat(1, 1, 2, 1),
    "repeated": lambda x: x.repeat_interleave(2, dim=3),
    "turned": lambda x: x.transpose(2, 3) + x.mean(),
    "outer sum": lambda x: x[:, :, :, :1] + x[:, :, :1],
    "written": written,
    "overwritten": overwritten,
    "in place": lambda x: x.clone().add_(x.roll(1, 2)).mul_(2),
    "one row": lambda x: x[:, :, 3],
    "cut into blocks": lambda x: x.unflatten(2, (2, -1)).unflatten(-1, (2, -1)).mean(dim=(3, 5)),
    "attention": attended,
    "instance norm": nn.InstanceNorm2d(4),
    "group norm": nn.GroupNorm(2, 4),
    "layer norm over the picture": lambda x: F.layer_norm(x, x.shape[1:]),
    "squeeze and excitation": squeeze_excitation(4),
    "transposed 3 by 2": nn.ConvTranspose2d(4, 4, 3, 2, 1, 1),
    "transposed 4 by 2": nn.ConvTranspose2d(4, 4, 4, 2, 1),
    "transposed 5 by 3": nn.ConvTranspose2d(4, 4, 5, 3),
    "transposed with gaps": nn.ConvTranspose2d(4, 4, 1, 2),
    "transposed and dilated": nn.ConvTranspose2d(4, 4, 3, 2, dilation=2),
    "local response": nn.LocalResponseNorm(3),
    "pixel shuffle": nn.PixelShuffle(2),
    "learned grid": lambda x: F.grid_sample(
        x, x[:, :2, ::2].permute(0, 2, 3, 1).tanh(), align_corners=False
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_contains_its_gradient(name: str) -> None:
    torch.manual_seed(0)
    operator = OPERATORS[name]
    module = operator if isinstance(operator, nn.Module) else Apply(operator)
    first = convolution(3, 4, 3, stride=2)
    picture = torch.zeros(1, 3, 16, 24)
    result = nn.Sequential(first, module)(picture)
    last = nn.Conv2d(result.shape[1], 2, 3, padding=1) if result.ndim == 4 else nn.Identity()
    check_against_gradient(nn.Sequential(first, module, last), picture, exact=False)


@pytest.mark.parametrize(
    "network",
    [
        UNet(classes=2, dim=4, depth=2),
        ViT(8, depth=1, heads=2, patch_size=8, image_size=32, classes=3),
        PatchTokens((4, 6, 8), image_size=32),
        nn.Sequential(nn.Conv2d(3, 8, 8, 8), Apply(lambda x: x.flatten(2).transpose(1, 2)),
                      nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)),
    ],
    ids=["unet", "vit", "patch tokens", "torch's transformer"],
)  # fmt: skip
def test_networks_contain_their_gradient(network: nn.Module) -> None:
    check_against_gradient(network, torch.zeros(1, 3, 32, 32), exact=False)


def test_random_stacks_equal_the_recurrence() -> None:
    generator = random.Random(0)
    for _ in range(40):
        layers, windows = [], ([], [])
        for _ in range(generator.randint(1, 6)):
            height, width = (
                Window(generator.randint(1, 5), generator.randint(1, 3), 0, generator.randint(1, 3))
                for _ in range(2)
            )
            height, width = (
                window._replace(padding=generator.randint(0, window.kernel_size // 2))
                for window in (height, width)
            )
            settings = list(zip(height, width, strict=True))
            kind = nn.MaxPool2d if generator.random() < 0.3 else _convolution
            layers.append(kind(settings[0], settings[1], settings[2], settings[3]))
            windows[0].append(height)
            windows[1].append(width)
        network = nn.Sequential(*layers).to("meta")
        picture = torch.empty(1, 2, 1500, 1400, device="meta")
        last = feature_map_geometry(network, picture)[-1]
        for axis, passed in zip((last.height, last.width), windows, strict=True):
            want = receptive_field(passed)
            assert (axis.size, axis.jump, axis.centre) == (want.size, want.jump, want.centre)
            assert axis.low == want.start
            assert axis.exact


def _convolution(*settings: tuple[int, int]) -> nn.Module:
    kernel_size, stride, padding, dilation = settings
    with torch.device("meta"):
        return nn.Conv2d(2, 2, kernel_size, stride, padding, dilation)


class Maps(nn.Module):
    """A network of ours, as a policy reads it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.network.maps(image)


def built(name: str, *, size: int = 96) -> tuple[nn.Module, Tensor]:
    if name in DENSE_NETWORKS:
        return build_dense_network(name, classes=2), torch.empty(1, 3, size, size)
    size = 32 if name in FIXED_SIZE - {"alexnet"} else size
    network = build_network(name, classes=None, image_size=size)
    return Maps(network), torch.empty(1, 3, size, size)


def chosen(names: set[str]) -> list[object]:
    """Return all networks, of which only some run by default."""
    return [
        pytest.param(name, marks=[] if name in names else [pytest.mark.slow])
        for name in [*NETWORKS, *DENSE_NETWORKS]
    ]


FAMILIES = {"lenet5", "alexnet", "vgg11", "googlenet", "spp-net", "resnet18", "resnet50"} | {
    "mobilenet", "efficientnet-lite0", "vit-tiny", "fcn8s", "unet",
}  # fmt: skip


@pytest.mark.parametrize("name", chosen(FAMILIES))
def test_networks_of_ours_are_known(name: str) -> None:
    with torch.device("meta"):  # shapes are enough
        network, picture = built(name)
    maps = feature_map_geometry(network, picture)
    assert [found.unknown for found in maps if found.unknown] == []
    last = [found for found in maps if found.layer == ""]
    strides = network.network.strides if isinstance(network, Maps) else (1,)
    assert [(found.height.jump, found.width.jump) for found in last] == [(s, s) for s in strides]
    assert all((found.height.dim, found.width.dim) == (2, 3) for found in last)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg16", 212),
        ("mobilenet", 315),
        ("resnet50", 427),
        pytest.param("resnet101", 971, marks=pytest.mark.slow),
        pytest.param("resnet152", 1451, marks=pytest.mark.slow),
    ],
)
def test_known_receptive_fields(name: str, size: int) -> None:
    # The first two: Araujo et al., 2019, https://distill.pub/2019/computing-receptive-fields. The
    # residual ones by hand: 3x3 kernels at jumps 4, 8, 16, 32, a stage's first at the jump before.
    with torch.device("meta"):
        network, picture = built(name)
    assert feature_map_geometry(network, picture)[-1].height.size == size


@pytest.mark.parametrize("name", chosen({"lenet5", "mobilenet", "vit-tiny"}))
def test_networks_of_ours_contain_their_gradient(name: str) -> None:
    torch.manual_seed(0)
    network, picture = built(name)
    check_against_gradient(network, torch.zeros_like(picture), exact=True, layers=[""])


def test_what_a_vit_knows_of_places() -> None:
    network = ViT(8, depth=2, heads=2, patch_size=8, image_size=32, classes=3)
    maps = {f.layer: f for f in feature_map_geometry(Maps(network), torch.zeros(2, 3, 32, 32))}
    patches, tokens, grid = maps["network.conv_proj"], maps["network.encoder"], maps[""]
    assert patches.height.reach is None
    for found in (tokens, grid):
        assert (found.height.size, found.height.jump, found.height.low) == (8, 8, 0)
        assert found.height.everything
    assert (tokens.height.dim, tokens.width.dim, grid.height.dim, grid.width.dim) == (1, 1, 2, 3)
    before = {
        f.layer: f for f in feature_map_geometry(network.conv_proj, torch.zeros(1, 3, 32, 32))
    }
    assert before[""].support((0, 0, 1, 2)) == (range(8, 16), range(16, 24))


def test_tokens_keep_their_rows() -> None:
    network = PatchTokens((4, 6, 8), image_size=64)
    found = feature_map_geometry(network, torch.zeros(1, 3, 64, 64))[-1]
    maps = feature_map_geometry(network.encoder, torch.zeros(1, 3, 64, 64))
    coarse = maps[-1]
    assert (coarse.layer, coarse.output) == ("", 2)
    for row in range(4):
        for column in range(4):
            want = coarse.support((0, 0, row, column))
            assert found.support((0, 4 * row + column)) == want


def test_a_gate_sees_everything_and_a_window_its_own() -> None:
    network = nn.Sequential(convolution(3, 4, 3, stride=2), squeeze_excitation(4), nn.MaxPool2d(2))
    found = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))[-1]
    assert (found.height.size, found.height.jump, found.height.centre) == (5, 4, 1.0)
    assert found.height.everything
    assert found.height.reach == (-1, 15)


def test_interpolation_is_not_exact_and_says_so() -> None:
    network = nn.Sequential(
        convolution(3, 4, 3, stride=4), nn.Upsample(scale_factor=2, mode="bilinear")
    )
    found = feature_map_geometry(network, torch.zeros(1, 3, 32, 32))[-1]
    assert found.height.jump == 2
    assert not found.height.exact
    assert math.isclose(found.height.centre, -1.0)


def test_channels_last_bytes() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = PatchEncoder((4, 6, 8))

        def forward(self, *, camera: dict[str, Tensor], state: Tensor) -> Tensor:
            image = camera["front"].permute(0, 3, 1, 2).float() / 127.5 - 1
            return self.encoder(image).coarse.mean(dim=(2, 3)) + state

    camera = {"front": torch.zeros(1, 32, 64, 3, dtype=torch.uint8)}
    maps = feature_map_geometry(Policy(), axes=(1, 2), camera=camera, state=torch.zeros(1, 8))
    coarse, action = maps[-2], maps[-1]
    assert (coarse.layer, coarse.output, coarse.kind) == ("encoder", 2, "PatchEncoder")
    assert (coarse.height.dim, coarse.height.size, coarse.height.pixels) == (2, 28, 32)
    assert (coarse.width.dim, coarse.width.size, coarse.width.pixels) == (3, 28, 64)
    assert (action.height.dim, action.height.jump) == (None, 0)
    assert action.support(()) == (range(32), range(64))
    # Two rows of cells, 16 pixels apart, of which the first begins 12 pixels outside.
    assert action.height.reach == (-12, 31)


def test_an_unknown_operator_is_told_and_not_fatal() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), Apply(lambda x: torch.linalg.matrix_exp(x)), nn.ReLU()
    )
    first, unknown, after, _ = feature_map_geometry(network, torch.zeros(1, 3, 10, 10))
    assert first.unknown is None
    assert unknown.unknown == after.unknown == "no rule for aten.linalg_matrix_exp.default"
    assert after.height is None
    with pytest.raises(ValueError, match=r"layer '2' is unknown: no rule for aten\.linalg_matrix"):
        after.support((0, 0, 0, 0))


def test_calls_and_outputs_are_told_apart() -> None:
    pool = nn.MaxPool2d(2)
    network = nn.Sequential(pool, pool, Apply(lambda x: {"a": x, "b": (x.mean(), 3)}))
    maps = feature_map_geometry(network, torch.zeros(1, 3, 8, 8))
    assert [(found.layer, found.call, found.output) for found in maps] == [
        ("0", 0, 0), ("0", 1, 0), ("2", 0, 0), ("2", 0, 1), ("", 0, 0), ("", 0, 1),
    ]  # fmt: skip
    assert [int(found.height.jump) for found in maps] == [2, 4, 4, 0, 4, 0]
    assert maps[0].windows[0].axes == (Window(2, 2), Window(2, 2))
    assert [len(found.windows) for found in maps] == [1, 1, 0, 0, 0, 0]


def test_what_does_not_see_the_picture() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table(torch.arange(x.shape[-1]) % 5)[:, 0]

    table, whole = feature_map_geometry(Positions(), torch.zeros(1, 3, 8, 8))
    assert (table.height.size, table.height.centre, table.support(())) == (0, None, (range(0),) * 2)
    assert whole.height.size == 1


def test_functional_windows_belong_to_the_caller() -> None:
    network = Apply(
        lambda x: F.avg_pool2d(F.conv2d(x, torch.ones(2, 3, 3, 3), dilation=2), 3, 2, 1)
    )
    (found,) = feature_map_geometry(network, torch.zeros(1, 3, 16, 20))
    convolved, pooled = found.windows
    assert (convolved.operator, convolved.axes[0]) == ("convolution", Window(3, 1, 0, 2))
    assert (pooled.operator, pooled.axes[1], pooled.sizes) == ("pooling", Window(3, 2, 1), (12, 16))
    assert (pooled.before[0].size, pooled.after[0].size) == (5, 7)
    assert pooled.after[0].jump == Fraction(2)


def test_inference_mode_inside_is_seen_through() -> None:
    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        return F.linear(F.max_pool2d(F.conv2d(x, torch.ones(2, 3, 3, 3)), 2), torch.ones(4, 7))

    (found,) = feature_map_geometry(Apply(run), torch.zeros(1, 3, 16, 16))
    assert found.unknown is None
    assert (found.height.size, found.height.jump, found.width.jump) == (4, 2, 0)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_network_is_left_alone(wrong: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if wrong:
        with pytest.raises(RuntimeError):
            feature_map_geometry(network, torch.zeros(1, 2, 8, 8))
    else:
        feature_map_geometry(network, torch.zeros(1, 3, 8, 8))
    assert [part.training for part in network.modules()] == [True, True, False, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_no_picture() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\(2, 3\)\]"):
        feature_map_geometry(nn.Linear(3, 2), torch.zeros(2, 3))
