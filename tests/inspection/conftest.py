"""Geometry held against the gradient."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from eyehand.inspection.geometry import MapGeometry, feature_map_geometry
from eyehand.inspection.gradient import gradient_support


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


@pytest.fixture
def check_against_gradient() -> Callable[..., int]:
    return _check_against_gradient


def _check_against_gradient(
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
