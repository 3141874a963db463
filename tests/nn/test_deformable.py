import os
import subprocess
from itertools import product
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from eyehand.nn.deformable import DeformableConv2d, deformable_convolution

# Stride, padding, dilation.
GEOMETRIES = [(1, 0, 1), (2, 1, 1), (1, 2, 2), (3, 2, 1)]


def case(
    stride: int, padding: int, dilation: int, *, modulated: bool, spread: float = 2.0
) -> dict[str, Tensor]:
    """A map of 7 x 6, a kernel of 3 x 2, and offsets that also leave the map."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 7, 6), torch.randn(4, 3, 3, 2)
    size = F.conv2d(x, weight, None, stride, padding, dilation).shape[2:]
    tensors = {"x": x, "weight": weight, "bias": torch.randn(4)}
    tensors["offset"] = spread * torch.randn(2, 2 * 6, *size)
    if modulated:
        tensors["mask"] = torch.rand(2, 6, *size)
    return {name: tensor.double() for name, tensor in tensors.items()}


def written_out(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    *,
    stride: int,
    padding: int,
    dilation: int,
) -> Tensor:
    """The formula, one sample at a time."""
    height, width = x.shape[2:]
    kernel_height, kernel_width = weight.shape[2:]
    want = bias[None, :, None, None].repeat(len(x), 1, *offset.shape[2:])

    def read(picture: Tensor, row: float, column: float) -> Tensor:
        total = torch.zeros(len(picture)).double()
        for i in (floor(row), floor(row) + 1):
            for j in (floor(column), floor(column) + 1):
                if 0 <= i < height and 0 <= j < width:
                    share = (1 - abs(row - i)) * (1 - abs(column - j))
                    total += share * picture[:, i, j]
        return total

    for b in range(len(x)):
        for i in range(offset.shape[2]):
            for j in range(offset.shape[3]):
                for k in range(kernel_height):
                    for m in range(kernel_width):
                        sample = k * kernel_width + m
                        dy, dx = offset[b, 2 * sample : 2 * sample + 2, i, j].tolist()
                        row = stride * i - padding + dilation * k + dy
                        column = stride * j - padding + dilation * m + dx
                        value = read(x[b], row, column)
                        if mask is not None:
                            value = value * mask[b, sample, i, j]
                        want[b, :, i, j] += weight[:, :, k, m] @ value
    return want


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "modulated"),
    [(1, 0, 1, False), (2, 1, 1, True), (1, 2, 2, True)],
)
def test_matches_the_formula_sample_by_sample(
    stride: int, padding: int, dilation: int, modulated: bool
) -> None:
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    tensors = case(**geometry, modulated=modulated)
    got = deformable_convolution(**tensors, **geometry)
    torch.testing.assert_close(got, written_out(**tensors, **geometry), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
def test_what_does_not_move_is_a_plain_convolution(
    stride: int, padding: int, dilation: int
) -> None:
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    tensors = case(**geometry, modulated=False, spread=0.0)
    got = deformable_convolution(**tensors, **geometry)
    want = F.conv2d(tensors["x"], tensors["weight"], tensors["bias"], **geometry)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_gradients_are_the_derivatives() -> None:
    torch.manual_seed(0)
    # Between centres of cells, where there is no kink; some outside the map.
    offset = torch.randint(-2, 2, (1, 8, 2, 1)) + 0.2 + 0.6 * torch.rand(1, 8, 2, 1)
    tensors = [torch.randn(1, 2, 3, 2), offset, torch.randn(2, 2, 2, 2), torch.rand(1, 4, 2, 1)]
    x, offset, weight, mask = (tensor.double().requires_grad_() for tensor in tensors)

    def convolve(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return deformable_convolution(x, offset, weight, mask=mask)

    assert gradcheck(convolve, (x, offset, weight, mask))


def test_half_precision_maps_are_read_where_they_should_be() -> None:
    """At column 300, bfloat16 knows only even columns."""
    x = torch.zeros(1, 1, 1, 400)
    x[..., 301] = 1
    weight, offset = torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 400)
    offset[:, 1] = 0.75
    got = deformable_convolution(x.bfloat16(), offset.bfloat16(), weight.bfloat16())
    assert got.dtype == torch.bfloat16
    # The way to torch's units and back costs 1e-5 of a cell.
    want = torch.tensor([0.75, 0.25]).bfloat16()
    torch.testing.assert_close(got[0, 0, 0, 300:302], want, rtol=0, atol=2**-9)


@pytest.mark.parametrize(("modulated", "share"), [(False, 1.0), (True, 0.5)])
def test_a_new_layer_is_the_plain_convolution_or_half_of_it(modulated: bool, share: float) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3, stride=2, padding=2, dilation=2).double()
    layer = DeformableConv2d(
        3, 4, kernel_size=3, modulated=modulated, stride=2, padding=2, dilation=2
    ).double()
    missing, unknown = layer.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["to_offset.weight", "to_offset.bias"]
    assert unknown == []
    x = torch.randn(2, 3, 9, 8).double()
    want = share * F.conv2d(x, plain.weight, None, 2, 2, 2) + plain.bias[:, None, None]
    got = layer(x)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got.sum().backward()
    # It starts at zero, but not at a standstill.
    assert (layer.to_offset.weight.grad.flatten(1).abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("modulated", [False, True])
def test_the_layer_reads_and_weighs_as_its_second_convolution_says(modulated: bool) -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(3, 4, kernel_size=3, modulated=modulated, padding=1).double()
    nn.init.normal_(layer.to_offset.weight, std=0.3)
    nn.init.normal_(layer.to_offset.bias)
    x = torch.randn(2, 3, 5, 6).double()
    said = layer.to_offset(x)
    want = deformable_convolution(
        x,
        said[:, :18],
        layer.weight,
        mask=1 / (1 + (-said[:, 18:]).exp()) if modulated else None,
        bias=layer.bias,
        padding=1,
    )
    torch.testing.assert_close(layer(x), want, rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    x, weight = torch.zeros(2, 3, 5, 6), torch.zeros(4, 3, 3, 3)
    with pytest.raises(ValueError, match=r"`offset` .*\(2, 18, 3, 4\); got \(2, 9, 3, 4\)"):
        deformable_convolution(x, torch.zeros(2, 9, 3, 4), weight)
    with pytest.raises(ValueError, match=r"\(2, 18, 5, 6\); got \(2, 18, 3, 4\)"):
        deformable_convolution(x, torch.zeros(2, 18, 3, 4), weight, padding=1)
    offset = torch.zeros(2, 18, 3, 4)
    with pytest.raises(ValueError, match=r"`mask` .*\(2, 9, 3, 4\); got \(2, 18, 3, 4\)"):
        deformable_convolution(x, offset, weight, mask=offset)


THEIRS = """
import sys
from pathlib import Path
import numpy as np
import torch
from torchvision.ops import deform_conv2d

for path in Path(sys.argv[1]).glob("*.npz"):
    with np.load(path) as given:
        t = {name: torch.from_numpy(given[name]) for name in given.files}
    upstream, geometry = t.pop("upstream"), t.pop("geometry").tolist()
    t = {name: value.requires_grad_() for name, value in t.items()}
    y = deform_conv2d(t["x"], t["offset"], t["weight"], t["bias"], *geometry, t.get("mask"))
    (y * upstream).sum().backward()
    gradients = {name: value.grad.numpy() for name, value in t.items()}
    np.savez(Path(sys.argv[2]) / path.name, y=y.detach().numpy(), **gradients)
"""


@pytest.mark.slow
def test_equals_torchvisions(tmp_path: Path) -> None:
    """Outputs and all gradients; offsets have a spread of two cells on a map of seven."""
    if "EYEHAND_TORCHVISION_PYTHON" not in os.environ:
        pytest.skip("EYEHAND_TORCHVISION_PYTHON does not name a Python with torchvision")
    given, theirs = tmp_path / "given", tmp_path / "theirs"
    given.mkdir()
    theirs.mkdir()
    ours = {}
    for number, (geometry, modulated, dtype) in enumerate(
        product(GEOMETRIES, [False, True], [torch.float64, torch.float32])
    ):
        names = dict(zip(["stride", "padding", "dilation"], geometry, strict=True))
        tensors = {
            name: tensor.to(dtype).requires_grad_()
            for name, tensor in case(**names, modulated=modulated).items()
        }
        y = deformable_convolution(**tensors, **names)
        upstream = torch.randn(y.shape).to(dtype)
        (y * upstream).sum().backward()
        arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        arrays |= {"upstream": upstream.numpy(), "geometry": np.array(geometry)}
        np.savez(given / f"{number}.npz", **arrays)
        ours[number] = {name: tensor.grad for name, tensor in tensors.items()} | {"y": y.detach()}
    done = subprocess.run(
        [os.environ["EYEHAND_TORCHVISION_PYTHON"], "-c", THEIRS, given, theirs],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for number, got in ours.items():
        with np.load(theirs / f"{number}.npz") as arrays:
            want = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        close = 1e-12 if got["y"].dtype == torch.float64 else 2e-5
        torch.testing.assert_close(got, want, rtol=0, atol=close)
