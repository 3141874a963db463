import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eyehand.models.vision.unet import UNet, unet


def test_size_is_that_of_the_papers_figure() -> None:
    # Ronneberger et al., 2015, fig. 1: one gray channel, two classes, 64 to 1024 wide.
    dims = [64, 128, 256, 512, 1024]
    want = 2 * 64 + 2
    for dim, out_dim in zip([1, *dims[:-1]], dims, strict=True):
        want += 9 * dim * out_dim + out_dim + 9 * out_dim * out_dim + out_dim
    for dim in dims[:-1]:
        want += 4 * 2 * dim * dim + dim
        want += 9 * 2 * dim * dim + dim + 9 * dim * dim + dim
    with torch.device("meta"):
        network = unet(classes=2, channels=1)
    assert sum(value.numel() for value in network.parameters()) == want == 31_030_658


def test_matches_the_formula() -> None:
    torch.manual_seed(0)
    network = UNet(classes=3, dim=4, depth=1).double()
    weight = dict(network.named_parameters())

    def two(x: torch.Tensor, name: str) -> torch.Tensor:
        for index in (0, 2):
            x = F.conv2d(
                x, weight[f"{name}.{index}.weight"], weight[f"{name}.{index}.bias"], padding=1
            ).relu()
        return x

    image = torch.randn(2, 3, 6, 8).double()
    fine = two(image, "down.0")
    coarse = two(fine.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1)), "down.1")
    # Strides of the up-convolution do not overlap: every cell becomes 2x2 pixels on its own.
    larger = torch.einsum("bihw,ioyx->bohywx", coarse, weight["up.0.weight"])
    larger = larger.reshape(2, 4, 6, 8) + weight["up.0.bias"].view(-1, 1, 1)
    merged = two(torch.cat([fine, larger], dim=1), "merge.0")
    want = F.conv2d(merged, weight["score.weight"], weight["score.bias"])
    torch.testing.assert_close(network(image), want, rtol=0, atol=1e-12)


def test_the_finest_bridge_carries_what_the_way_down_loses() -> None:
    torch.manual_seed(0)
    network = UNet(classes=3, dim=4, depth=2)
    for up in network.up:
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
    image = torch.randn(1, 3, 16, 16)
    other = image.clone()
    other[..., 5, 6] += 1
    changed = (network(image) != network(other)).any(dim=1)[0].nonzero()
    # Only the bridge is left: two convolutions of 3x3 before it and two after reach 4 pixels.
    assert changed.amin(dim=0).tolist() == [1, 2]
    assert changed.amax(dim=0).tolist() == [9, 10]


def test_signals_keep_their_size_through_the_layers() -> None:
    torch.manual_seed(0)
    logits = UNet(classes=8, dim=16, depth=3)(torch.randn(2, 3, 64, 64))
    assert 0.1 < logits.std() < 10


def test_sizes_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be multiples of 4 for this UNet; got 8x10\."):
        UNet(classes=3, dim=4, depth=2)(torch.zeros(1, 3, 8, 10))
