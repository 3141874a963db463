"""What the geometry of a network gives away: gridding, unread cells, kernels larger than maps."""

from collections.abc import Iterable

from eyehand.inspection.findings import Finding, Place, judge
from eyehand.inspection.geometry import Geometry


def geometric_findings(geometry: Geometry) -> list[Finding]:
    """Judge what the maps of a network see.

    Args:
        geometry: As `eyehand.inspection.geometry.measure_geometry` returns it.

    References:
        Wang et al., 2018, https://arxiv.org/abs/1702.08502 (gridding).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from eyehand.inspection.geometry import measure_geometry
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(4, 4, 3))
        >>> findings = geometric_findings(measure_geometry(network, torch.zeros(1, 3, 16, 16)))
        >>> [place for found in findings if found.name == "Unread cells" for place in found.places]
        [Place(layer='the picture', text='75 % of its cells are never read')]
    """
    holes, small = [], []
    widest = max(
        (one for one in geometry.maps if one.height and (one.spatial or len(one.shape) == 3)),
        key=lambda found: sum(axis.size for axis in (found.height, found.width) if axis),
        default=None,
    )
    if widest is not None and widest.height is not None and widest.width is not None:
        axes = widest.height, widest.width
        field, picture = _by(axis.size for axis in axes), _by(axis.pixels for axis in axes)
        if widest.holes:
            text = (
                f"a cell leaves out {100 * widest.holes:.0f} % of the pixels of its {field} field"
            )
            holes.append(Place(widest.layer, text))
        if any(axis.size < axis.pixels for axis in axes):
            text = f"a cell sees {field} pixels of a picture of {picture}, no other map's sees more"
            small.append(Place(widest.layer, text))
    return [
        judge(
            "Gridding",
            holes,
            look="Give dilated layers rates without a common factor, such as 1, 2, 5, so that "
            "neighbouring pixels are seen too.",
            ok="The largest field has no holes: nothing to do.",
        ),
        judge(
            "Unread cells",
            (
                Place(layer, f"{100 * share:.0f} % of its cells are never read")
                for layer, share in geometry.unread.items()
            ),
            look="In the layer that reads it, use a kernel at least as large as the stride: these "
            "cells are computed for nothing.",
            ok="Every map is read without gaps: nothing to do.",
        ),
        judge(
            "Kernel and map",
            (
                Place(layer, f"a {_by(kernel)} kernel, holes included, reads a {_by(size)} map")
                for layer, (kernel, size) in geometry.oversized.items()
            ),
            look="Use a smaller kernel or dilation, or a larger picture: part of this kernel reads "
            "only padding.",
            ok="No kernel is larger than the map that it reads: nothing to do.",
        ),
        judge(
            "Receptive field",
            small,
            look="If one cell must recognise something larger than its field, add depth, stride or "
            "dilation.",
            ok="The largest field holds the whole picture: nothing to do.",
        ),
    ]


def _by(sizes: Iterable[int]) -> str:
    return "x".join(str(size) for size in sizes)
