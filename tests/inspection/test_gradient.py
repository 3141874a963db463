import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.receptive_field import usage_map
from eyehand.inspection.gradient import SmoothRun, effective_receptive_field, effective_size


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def changed_pixels(network: nn.Module, picture: Tensor, index: tuple[int | slice, ...]) -> Tensor:
    """Return where a NaN in the picture reaches an element, pixel by pixel: no gradient at all."""
    height, width = picture.shape[2:]
    reached = torch.zeros(height, width, dtype=torch.bool)
    with torch.no_grad():
        for row in range(height):
            for column in range(width):
                spoilt = picture.clone()
                spoilt[:, :, row, column] = torch.nan
                reached[row, column] = network(spoilt)[index].isnan().any()
    return reached


NETWORKS = {
    "rectified and pooled": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(3, 3, 3, padding=2, dilation=2), nn.Tanh(),
    ),
    "pooled to the edge": lambda: nn.Sequential(
        nn.MaxPool2d(2, 3, ceil_mode=True), nn.Conv2d(2, 2, 2, padding=1), nn.Hardswish()
    ),
    "uneven pooling": lambda: nn.Sequential(nn.MaxPool2d((4, 3), (2, 1), (2, 0))),
    "dilated pooling": lambda: nn.Sequential(nn.MaxPool2d(2, 1, dilation=2), nn.Sigmoid()),
    "adaptive": lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.AdaptiveMaxPool2d((4, 3))),
    "normalised": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval(), nn.GELU(), nn.ConvTranspose2d(4, 2, 3, 2)
    ),
    "layer norm": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm(7)),
    "group norm": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.GroupNorm(2, 2)),
    "instance norm": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.InstanceNorm2d(2)),
    "grouped": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.Hardswish(), nn.Conv2d(4, 4, 2, stride=2, groups=4)
    ),
    "softmax": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.Softmax(dim=3)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_support_is_what_changes(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    picture = torch.randn(1, 2, 8, 9)
    for row, column in [(0, 0), (1, 2), (-1, -1)]:
        index = (0, slice(None), row, column)
        want = changed_pixels(network, picture, index)
        assert torch.equal(SmoothRun(network, picture).support("", index), want)
        assert want.any()


def test_support_has_the_holes_of_the_usage_map() -> None:
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, dilation=d, padding=d) for d in (2, 2, 4)))
    picture = torch.zeros(1, 1, 17, 17)
    got = SmoothRun(network, picture).support("2", (0, 0, 8, 8))
    assert np.array_equal(got.numpy(), usage_map([2, 2, 4], kernel_size=3) > 0)


def test_support_of_zero_weights_and_frozen_networks() -> None:
    network = nn.Conv2d(3, 2, 3).requires_grad_(False)
    nn.init.zeros_(network.weight)
    got = SmoothRun(network, torch.zeros(1, 3, 5, 5)).support("", (0, 0, 0, 0))
    assert got.sum() == 9
    assert not network.weight.any()
    assert network.weight.dtype == torch.float32


def test_the_layer_must_have_a_gradient() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 2, 3)

        @torch.no_grad()
        def look(self, x: Tensor) -> Tensor:
            return self.inner(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.look(x).sum() + x

    inputs = torch.zeros(1, 3, 5, 5)
    with pytest.raises(ValueError, match="No gradient flows back"):
        SmoothRun(Frozen(), inputs).support("inner", (0,))
    with pytest.raises(ValueError, match="no layer 'outer'"):
        SmoothRun(Frozen(), inputs).support("outer", (0,))


def test_effective_field_of_one_convolution_is_its_weight() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(2, 5, 5, padding=2)
    field = effective_receptive_field(network, torch.zeros(100, 2, 9, 9), "", samples=5)
    want = network.weight.double().square().sum(dim=(0, 1)).sqrt()
    want = F.pad(want / want.max(), (2, 2, 2, 2))
    torch.testing.assert_close(field, want.detach(), rtol=0, atol=0.06)
    assert effective_size(field) == 5


def test_effective_field_grows_with_the_root_of_the_depth() -> None:
    def size(depth: int) -> float:
        layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(depth)]
        for layer in layers:
            nn.init.constant_(layer.weight, 1 / 9)
        picture = torch.zeros(1, 1, 65, 65)
        return effective_size(
            effective_receptive_field(nn.Sequential(*layers), picture, "", samples=1)
        )

    # A sum of n uniform steps has variance 2n/3 along an axis; the heat falls to 4.55 % at a radius
    # of 2.486 deviations, a circle of that radius has this area.
    for depth in (8, 24):
        want = (torch.pi * 2.486**2 * 2 * depth / 3) ** 0.5
        assert size(depth) == pytest.approx(want, rel=0.05)
        assert size(depth) < 0.75 * (2 * depth + 1)


def test_effective_field_leaves_the_network_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(2))
    network[0].weight.grad = torch.ones_like(network[0].weight)
    state = torch.get_rng_state()
    field = effective_receptive_field(network, torch.zeros(2, 1, 7, 7), "1", samples=2)
    assert field.max() == 1
    with pytest.raises(ValueError, match=r"layer '2' must be .* Got \(2, 2, 25\)"):
        effective_receptive_field(network, torch.zeros(2, 1, 7, 7), "2")
    assert torch.equal(network[0].weight.grad, torch.ones_like(network[0].weight))
    assert network[0].weight.requires_grad
    assert network[1].training
    assert network[1].num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_effective_field_of_a_dead_network() -> None:
    network = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(network.weight)
    with pytest.raises(ValueError, match="layer '' reaches the picture"):
        effective_receptive_field(network, torch.zeros(1, 1, 3, 3), "", samples=1)
