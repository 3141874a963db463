from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.geometry import feature_map_geometry
from eyehand.inspection.rules import RULES, find_rule
from eyehand.models.vision.patch_encoder import PatchEncoder


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
def test_plain_networks_equal_their_gradient(
    name: str, check_against_gradient: Callable[..., int]
) -> None:
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
    "rows weighed": lambda x: torch.ones(5, x.shape[2], dtype=x.dtype) @ x,
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
def test_every_operator_contains_its_gradient(
    name: str, check_against_gradient: Callable[..., int]
) -> None:
    torch.manual_seed(0)
    operator = OPERATORS[name]
    module = operator if isinstance(operator, nn.Module) else Apply(operator)
    first = convolution(3, 4, 3, stride=2)
    picture = torch.zeros(1, 3, 16, 24)
    result = nn.Sequential(first, module)(picture)
    last = nn.Conv2d(result.shape[1], 2, 3, padding=1) if result.ndim == 4 else nn.Identity()
    check_against_gradient(nn.Sequential(first, module, last), picture, exact=False)


def test_what_is_written_into_a_part_keeps_its_place() -> None:
    network = nn.Sequential(convolution(3, 4, 3, stride=2), Apply(written))
    found = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))[-1]
    assert (found.height.jump, found.height.low, found.height.high) == (2, -3, -1)
    around = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    (found,) = feature_map_geometry(around, torch.zeros(1, 3, 16, 16))
    assert (found.width.jump, found.width.size, found.width.everything) == (1, 3, True)


def test_channels_that_are_places_are_summed() -> None:
    network = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1))
    places, sums, _ = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))
    assert places.support((0, 1, 2, 3)) == (range(4, 5), range(7, 8))
    assert sums.support((0, 1, 2, 3)) == (range(4, 6), range(6, 8))


def test_rules_are_of_operators_that_exist() -> None:
    assert [name for name in RULES if not hasattr(torch.ops.aten, name)] == []
    assert all(find_rule(name) is rule for name, rule in RULES.items())
