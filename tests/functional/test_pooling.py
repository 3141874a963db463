"""Sizes of pooling against torch's own operators, refusals included."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from eyehand.functional.pooling import pooling_output_size

AXIS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 14),
        "kernel_size": st.integers(1, 5),
        "stride": st.integers(1, 6),
        "padding": st.integers(0, 3),
        "dilation": st.integers(1, 3),
    }
)
MAXIMUM = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVERAGE = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def value_or_refusal(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (RuntimeError, ValueError):  # torch's and ours
        return "refused"


def torch_sizes(
    function: Callable[..., torch.Tensor], axes: list[dict[str, int]], ceil_mode: bool
) -> list[int]:
    options = {name: [axis[name] for axis in axes] for name in axes[0]}
    image = torch.zeros(1, 1, *options.pop("size"))
    return list(function(image, ceil_mode=ceil_mode, **options).shape[2:])


@settings(deadline=None)
@given(st.lists(AXIS, min_size=1, max_size=3), st.booleans())
def test_maximum_sizes_and_refusals_are_torchs(axes: list[dict[str, int]], ceil: bool) -> None:
    want = value_or_refusal(lambda: torch_sizes(MAXIMUM[len(axes) - 1], axes, ceil))
    ours = value_or_refusal(lambda: [pooling_output_size(**axis, ceil_mode=ceil) for axis in axes])
    assert ours == want


@settings(deadline=None)
@given(st.lists(AXIS, min_size=1, max_size=3), st.booleans())
def test_average_sizes_and_refusals_are_torchs(axes: list[dict[str, int]], ceil: bool) -> None:
    for axis in axes:
        del axis["dilation"]
    if len(axes) == 3 and any(axis["kernel_size"] > axis["size"] for axis in axes):
        return  # avg_pool3d alone wants the bare kernel to fit, in ceil mode and with padding too
    want = value_or_refusal(lambda: torch_sizes(AVERAGE[len(axes) - 1], axes, ceil))
    ours = value_or_refusal(lambda: [pooling_output_size(**axis, ceil_mode=ceil) for axis in axes])
    assert ours == want


def test_a_window_that_begins_in_the_far_padding_is_left_out() -> None:
    """Three pixels padded by one, windows of two: the third would begin at pixel 3."""
    window = {"kernel_size": 2, "stride": 2, "padding": 1}
    assert -(-(3 + 2 - 2) // 2) + 1 == 3  # the formula alone
    assert pooling_output_size(3, **window, ceil_mode=True) == 2
    assert F.max_pool1d(torch.zeros(1, 1, 3), **window, ceil_mode=True).shape[-1] == 2
    assert pooling_output_size(4, **window, ceil_mode=True) == 3  # and here it begins on pixel 3


def test_ceil_mode_drops_no_pixel() -> None:
    """Every pixel has a gradient in ceil mode; without it the last ones have none."""
    for ceil, unread in ((True, 0), (False, 1)):
        image = torch.zeros(1, 1, 6, dtype=torch.float64, requires_grad=True)
        cells = F.avg_pool1d(image, 3, stride=2, ceil_mode=ceil)
        assert cells.shape[-1] == pooling_output_size(6, kernel_size=3, stride=2, ceil_mode=ceil)
        (gradient,) = torch.autograd.grad(cells.sum(), image)
        assert (gradient == 0).sum() == unread


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 5, "stride": 1}, "Got kernel 5, size=3, padding=0, stride=1"),
        ({"kernel_size": 3, "stride": 1, "padding": 2}, "padding=2, kernel_size=3"),
        ({"kernel_size": 3, "stride": 1, "padding": 2, "dilation": 2}, "padding=2, kernel_size=3"),
        ({"kernel_size": 3, "stride": 1, "padding": -1}, "padding=-1"),
        ({"kernel_size": 3, "stride": 0}, "stride=0"),
        ({"kernel_size": 0, "stride": 1}, "Got kernel_size=0"),
        ({"kernel_size": 1, "stride": 1, "dilation": 0}, "dilation=0"),
    ],
)
def test_refuses_what_torch_refuses(options: dict[str, int], message: str, ceil_mode: bool) -> None:
    with pytest.raises(ValueError, match=message):
        pooling_output_size(3, **options, ceil_mode=ceil_mode)
    with pytest.raises(RuntimeError):
        torch_sizes(F.max_pool1d, [{"size": 3, **options}], ceil_mode)


def test_refuses_an_empty_input() -> None:
    with pytest.raises(ValueError, match="Got size=0"):
        pooling_output_size(0, kernel_size=2, stride=2, padding=1)
