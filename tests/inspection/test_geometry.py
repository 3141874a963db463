import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.receptive_field import Window, receptive_field
from eyehand.inspection.geometry import feature_map_geometry
from eyehand.models.registry import NETWORKS, build_network, names_of
from eyehand.models.vision.patch_encoder import PatchEncoder, PatchTokens
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
def test_networks_contain_their_gradient(
    network: nn.Module, check_against_gradient: Callable[..., int]
) -> None:
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
    if NETWORKS[name].kind == "dense network":
        return build_network(name, classes=2), torch.empty(1, 3, size, size)
    size = 32 if NETWORKS[name].fixed_size and name != "alexnet" else size
    network = build_network(name, classes=None, image_size=size)
    return Maps(network), torch.empty(1, 3, size, size)


def chosen(names: set[str]) -> list[object]:
    """Return all networks, of which only some run by default."""
    return [
        pytest.param(name, marks=[] if name in names else [pytest.mark.slow])
        for name in [*names_of("classifier"), *names_of("dense network")]
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
def test_networks_of_ours_contain_their_gradient(
    name: str, check_against_gradient: Callable[..., int]
) -> None:
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
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), SqueezeExcitation(4, reduction=2), nn.MaxPool2d(2)
    )
    found = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))[-1]
    assert (found.height.size, found.height.jump, found.height.centre) == (5, 4, 1.0)
    assert found.height.everything
    assert found.height.reach == (-1, 15)


def test_interpolation_is_not_exact_and_says_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
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
