"""Sizes, counts and matrices against torch's own operators, refusals included."""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from eyehand.functional.convolution import (
    convolution_matrix,
    convolution_output_size,
    convolution_parameters,
    effective_kernel_size,
    transposed_convolution_output_size,
)

WINDOW = {
    "kernel_size": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 4),
    "dilation": st.integers(1, 4),
}
AXIS = st.fixed_dictionaries({"size": st.integers(1, 14), **WINDOW})
TRANSPOSED_AXIS = st.fixed_dictionaries(
    {"size": st.integers(1, 5), "output_padding": st.integers(0, 3), **WINDOW}
)


def value_or_refusal(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (RuntimeError, ValueError):  # torch's and ours
        return "refused"


def torch_sizes(function: Callable[..., torch.Tensor], axes: list[dict[str, int]]) -> list[int]:
    options = {name: [axis[name] for axis in axes] for name in axes[0]}
    image = torch.zeros(1, 1, *options.pop("size"))
    weight = torch.zeros(1, 1, *options.pop("kernel_size"))
    sizes = list(function(image, weight, **options).shape[2:])
    if 0 in sizes:  # in one dimension torch refuses what is an empty picture in two or three
        raise ValueError(sizes)
    return sizes


@settings(deadline=None)
@given(st.lists(AXIS, min_size=1, max_size=3))
def test_output_sizes_and_refusals_are_torchs(axes: list[dict[str, int]]) -> None:
    function = (F.conv1d, F.conv2d, F.conv3d)[len(axes) - 1]
    want = value_or_refusal(lambda: torch_sizes(function, axes))
    assert value_or_refusal(lambda: [convolution_output_size(**axis) for axis in axes]) == want


@settings(deadline=None)
@given(st.lists(TRANSPOSED_AXIS, min_size=1, max_size=3))
@example(
    [
        {"size": 1, "output_padding": 0, "kernel_size": 4, "stride": 1, "padding": padding}
        | {"dilation": 1}
        for padding in (0, 2)
    ]
)
def test_transposed_sizes_and_refusals_are_torchs(axes: list[dict[str, int]]) -> None:
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(axes) - 1]
    want = value_or_refusal(lambda: torch_sizes(function, axes))
    ours = value_or_refusal(lambda: [transposed_convolution_output_size(**axis) for axis in axes])
    assert ours == want


@settings(deadline=None)
@given(AXIS)
def test_output_padding_chooses_the_size_that_came_in(axis: dict[str, int]) -> None:
    size = axis.pop("size")
    cells = value_or_refusal(lambda: convolution_output_size(size, **axis))
    if cells == "refused":
        return
    span = effective_kernel_size(axis["kernel_size"], dilation=axis["dilation"])
    remainder = (size + 2 * axis["padding"] - span) % axis["stride"]
    back = transposed_convolution_output_size(cells, output_padding=remainder, **axis)
    assert back == size


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_the_effective_kernel_spans_its_taps(kernel_size: int, dilation: int) -> None:
    taps = [tap * dilation for tap in range(kernel_size)]
    assert effective_kernel_size(kernel_size, dilation=dilation) == taps[-1] - taps[0] + 1


@settings(deadline=None)
@given(
    kernel=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    groups=st.integers(1, 4),
    multiples=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
)
def test_parameters_are_torchs(
    kernel: list[int], groups: int, multiples: tuple[int, int], bias: bool
) -> None:
    channels, out_channels = (groups * multiple for multiple in multiples)
    options: dict[str, Any] = {"kernel_size": tuple(kernel), "groups": groups, "bias": bias}
    ours = convolution_parameters(channels, out_channels, **options)
    for layers in (
        (nn.Conv1d, nn.Conv2d, nn.Conv3d),
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    ):
        layer = layers[len(kernel) - 1](channels, out_channels, **options, device="meta")
        assert ours == sum(parameter.numel() for parameter in layer.parameters())


def test_one_number_is_a_square_kernel() -> None:
    assert convolution_parameters(3, 8, kernel_size=5) == 5 * 5 * 3 * 8 + 8
    assert convolution_parameters(3, 8, kernel_size=(5,)) == 5 * 3 * 8 + 8


MATRIX_CASES = [  # channels, out_channels, kernel, image, stride, padding, dilation
    (1, 1, (3, 3), (4, 4), 1, 0, 1),
    (2, 3, (3, 2), (5, 7), 1, 1, 1),
    (3, 2, (2, 3), (7, 6), 2, 1, 1),
    (2, 2, (3, 3), (9, 8), 3, 2, 2),
    (1, 2, (1, 4), (6, 11), 2, 0, 3),
    (2, 1, (2, 2), (3, 5), 3, 3, 1),  # some cells see padding alone
]


@pytest.mark.parametrize(
    ("channels", "out_channels", "kernel", "image_size", "stride", "padding", "dilation"),
    MATRIX_CASES,
)
def test_the_matrix_convolves_and_its_transpose_transposes(
    channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    image_size: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(out_channels, channels, *kernel, dtype=torch.float64)
    image = torch.randn(channels, *image_size, dtype=torch.float64)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    height, width = image_size
    matrix = convolution_matrix(weight, height=height, width=width, **geometry)
    maps = F.conv2d(image, weight, **geometry)
    assert matrix.is_sparse
    assert matrix.shape == (maps.numel(), image.numel())
    assert matrix._nnz() <= maps.numel() * channels * prod(kernel)
    torch.testing.assert_close(matrix @ image.flatten(), maps.flatten(), rtol=0, atol=1e-12)

    other = torch.randn_like(maps)
    span = [effective_kernel_size(taps, dilation=dilation) for taps in kernel]
    back = F.conv_transpose2d(
        other,
        weight,
        output_padding=[
            (size + 2 * padding - taps) % stride
            for size, taps in zip(image_size, span, strict=True)
        ],
        **geometry,
    )
    assert back.shape == image.shape
    torch.testing.assert_close(matrix.T @ other.flatten(), back.flatten(), rtol=0, atol=1e-12)


def test_the_transpose_is_no_inverse() -> None:
    """Sixteen pixels, four cells: the shape comes back and the values do not, and cannot."""
    torch.manual_seed(0)
    weight = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    matrix = convolution_matrix(weight, height=4, width=4).to_dense()
    image = torch.randn(16, dtype=torch.float64)
    back = matrix.T @ (matrix @ image)
    assert back.shape == image.shape
    assert not torch.allclose(back, image, atol=0.1)
    assert torch.linalg.matrix_rank(matrix.T @ matrix) == 4
    unseen = torch.linalg.svd(matrix).Vh[-1]  # two images that no map can tell apart
    torch.testing.assert_close(matrix @ (image + unseen), matrix @ image, rtol=0, atol=1e-12)
    assert unseen.norm() == pytest.approx(1)


def test_an_invertible_convolution_is_not_inverted_by_its_transpose_unless_orthogonal() -> None:
    torch.manual_seed(0)
    identity = torch.eye(16, dtype=torch.float64)
    weight = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    matrix = convolution_matrix(weight, height=4, width=4, padding=1).to_dense()
    torch.testing.assert_close(torch.linalg.inv(matrix) @ matrix, identity, rtol=0, atol=1e-9)
    assert not torch.allclose(matrix.T @ matrix, identity, atol=0.1)
    # A 2x2 Haar transform: stride 2, four orthonormal kernels.
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    haar = (signs.double() / 2).view(4, 1, 2, 2)
    matrix = convolution_matrix(haar, height=4, width=4, stride=2).to_dense()
    torch.testing.assert_close(matrix.T @ matrix, identity, rtol=0, atol=1e-12)


def test_the_matrix_keeps_dtype_and_gradient() -> None:
    weight = torch.randn(2, 1, 3, 3, requires_grad=True)
    image = torch.randn(1, 5, 5)
    matrix = convolution_matrix(weight, height=5, width=5, padding=1)
    assert matrix.dtype == torch.float32
    (ours,) = torch.autograd.grad((matrix @ image.flatten()).square().sum(), weight)
    (want,) = torch.autograd.grad(F.conv2d(image, weight, padding=1).square().sum(), weight)
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "must fit into the padded input. Got kernel 4, size=3, padding=0"),
        ({"kernel_size": 3, "dilation": 3, "padding": 1}, "Got kernel 7, size=3, padding=1"),
        ({"kernel_size": 0}, "at least 1. Got kernel_size=0, dilation=1"),
        ({"kernel_size": 1, "dilation": 0}, "at least 1. Got kernel_size=1, dilation=0"),
        ({"kernel_size": 1, "stride": 0}, "Got size=3, stride=0, padding=0"),
        ({"kernel_size": 1, "padding": -1}, "Got size=3, stride=1, padding=-1"),
    ],
)
def test_refuses_what_torch_refuses(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convolution_output_size(3, **options)
    with pytest.raises(RuntimeError):
        torch_sizes(F.conv1d, [{"size": 3, **options}])
    with pytest.raises(ValueError, match=message):
        convolution_matrix(
            torch.zeros(1, 1, options["kernel_size"], 1),
            height=3,
            width=9,
            **{name: value for name, value in options.items() if name != "kernel_size"},
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 3, "padding": 3}, "Got -1 from size=3, effective kernel 3, padding=3"),
        ({"kernel_size": 3, "output_padding": 1}, "Got output_padding=1, stride=1, dilation=1"),
        ({"kernel_size": 3, "output_padding": 3, "stride": 3, "dilation": 2}, "output_padding=3"),
        ({"kernel_size": 3, "output_padding": -1}, "Got output_padding=-1"),
        ({"kernel_size": 0}, "Got kernel_size=0"),
        ({"kernel_size": 3, "stride": 0}, "Got size=3, stride=0"),
        ({"kernel_size": 3, "padding": -1}, "padding=-1"),
    ],
)
def test_refuses_transposed_what_torch_refuses(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transposed_convolution_output_size(3, **options)
    with pytest.raises(RuntimeError):
        torch_sizes(F.conv_transpose1d, [{"size": 3, **options}])


def test_refuses_an_empty_input() -> None:
    for function in (convolution_output_size, transposed_convolution_output_size):
        with pytest.raises(ValueError, match="Got size=0, stride=1, padding=2"):
            function(0, kernel_size=3, padding=2)


@pytest.mark.parametrize(
    ("channels", "out_channels", "options", "message"),
    [
        (4, 6, {"kernel_size": 3, "groups": 3}, "Got groups=3, channels=4, out_channels=6"),
        (6, 4, {"kernel_size": 3, "groups": 3}, "Got groups=3, channels=6, out_channels=4"),
        (4, 4, {"kernel_size": 3, "groups": 0}, "groups=0"),
        (0, 4, {"kernel_size": 3}, "channels=0"),
        (4, 4, {"kernel_size": (3, 0)}, r"kernel_size=\(3, 0\)"),
    ],
)
def test_refuses_counts(
    channels: int, out_channels: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convolution_parameters(channels, out_channels, **options)
