"""What the geometry of a network gives away: holes, pixels that are skipped, maps of padding."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from eyehand.functional.convolution import effective_kernel_size
from eyehand.functional.receptive_field import (
    Window,
    has_gridding,
    hybrid_dilation,
    unused_share,
)
from eyehand.inspection.geometry import MapGeometry, SlidingWindow


@dataclass(frozen=True)
class Finding:
    """Something in a network that is worth a second look.

    Example:
        >>> Finding("strides that skip pixels", "stem", "reads 1 of 4 pixels").layer
        'stem'
    """

    rule: str
    """What is looked for, in words; the same for every finding of one kind."""
    layer: str
    """Name of the submodule, as in ``named_modules``."""
    message: str
    """What is so here, with its numbers."""


GRIDDING = "dilated convolutions in a row read every cell of their receptive field"
SKIPPED = "windows read every cell of their map: the stride is not greater than the kernel"
PADDED = "a map is at least as large as the kernel that reads it; beyond it lies padding"
FIELD = "a cell of the last map sees at least as much as the picture holds"


def geometric_findings(maps: Sequence[MapGeometry]) -> list[Finding]:
    """Return all findings of this file.

    Args:
        maps: As `eyehand.inspection.geometry.feature_map_geometry` returns them.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from eyehand.inspection.geometry import feature_map_geometry
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), nn.Conv2d(4, 4, 8))
        >>> maps = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))
        >>> [(finding.layer, finding.message) for finding in skipped_cells(maps)]
        [('0', 'A 1x1 kernel with stride 2x2 never reads 75 % of its 16x16 map.')]
    """
    return [*gridding(maps), *skipped_cells(maps), *mostly_padding(maps), *last_field(maps)]


def gridding(maps: Iterable[MapGeometry]) -> list[Finding]:
    """Find stacks of dilated convolutions with holes in what they read (Wang et al., 2018).

    A stack is convolutions of stride 1 and one kernel size of which each reads what the one before
    made. The verdict is exact; the rule for hybrid dilation, which is a bound, is told beside it.
    """
    findings = []
    for stack in _stacks(_windows(maps)):
        windows = [window.axes[0] for _, window in stack]
        dilations, kernel_size = [window.dilation for window in windows], windows[0].kernel_size
        if len(stack) < 2 or not has_gridding(dilations, kernel_size=kernel_size):
            continue
        holes = unused_share(dilations, kernel_size=kernel_size)
        gap = hybrid_dilation(dilations)[1]
        names = ", ".join(layer for layer, _ in stack)
        message = (
            f"Dilations {dilations} of {kernel_size}x{kernel_size} kernels ({names}) never read "
            f"{100 * holes:.0f} % of the field; by the hybrid rule M2 = {gap} "
            f"{'>' if gap > kernel_size else '<='} {kernel_size}."
        )
        findings.append(Finding(GRIDDING, stack[-1][0], message))
    return findings


def skipped_cells(maps: Iterable[MapGeometry]) -> list[Finding]:
    """Find windows that step over cells which nothing beside them reads.

    Those that a window reads repeat with its stride; with dilation even a long one may skip some. A
    1x1 shortcut with a stride is fine where a 3x3 convolution beside it reads the same map.
    """
    shares = [(layer, window, _share_read(window)) for layer, window in _windows(maps)]
    read_whole = [window.before for _, window, read in shares if read == 1]
    findings = []
    for layer, window, read in shares:
        if read < 1 and window.before not in read_whole:
            kernel, stride = (_by(axis[setting] for axis in window.axes) for setting in (0, 1))
            findings.append(
                Finding(
                    SKIPPED,
                    layer,
                    f"A {kernel} kernel with stride {stride} never reads {100 * (1 - read):.0f} % "
                    f"of its {_by(window.sizes)} map.",
                )
            )
    return findings


def _share_read(window: SlidingWindow) -> float:
    """Return the share of the cells of its map that a window reads."""
    read = 1.0
    for axis, size in zip(window.axes, window.sizes, strict=True):
        cells = {tap * axis.dilation % axis.stride for tap in range(axis.kernel_size)}
        read *= len(cells) / axis.stride if size > 1 else 1
    return read


def mostly_padding(maps: Iterable[MapGeometry]) -> list[Finding]:
    """Find windows larger than the map that they slide over."""
    findings = []
    for layer, window in _windows(maps):
        kernels, inside = [], 1.0
        for axis, size in zip(window.axes, window.sizes, strict=True):
            taps = _taps(axis, size)
            inside *= sum(0 <= tap < size for tap in taps) / max(len(taps), 1)
            kernels.append(effective_kernel_size(axis.kernel_size, dilation=axis.dilation))
        if any(kernel > size for kernel, size in zip(kernels, window.sizes, strict=True)):
            message = (
                f"A {_by(kernels)} kernel, holes included, reads a {_by(window.sizes)} map: "
                f"{100 * (1 - inside):.0f} % of what it reads is padding."
            )
            findings.append(Finding(PADDED, layer, message))
    return findings


def last_field(maps: Iterable[MapGeometry]) -> list[Finding]:
    """Compare the receptive field of the last map that still has a height and width."""
    last = None
    for found in maps:
        placed = all(axis and axis.dim is not None for axis in (found.height, found.width))
        if placed and len(found.shape) > 2:  # rows of patches count as a map, a vector does not
            last = found
    if last is None or last.height is None or last.width is None:
        return []
    both = last.height, last.width
    field, picture = _by(axis.size for axis in both), _by(axis.pixels for axis in both)
    message = f"A cell of the last map sees {field} pixels of a picture of {picture}: "
    if any(axis.size < axis.pixels and not axis.everything for axis in both):
        return [Finding(FIELD, last.layer, message + "what is larger it sees in part.")]
    return []


def _windows(maps: Iterable[MapGeometry]) -> list[tuple[str, SlidingWindow]]:
    """Return the convolutions and poolings of all layers, in the order in which they ran."""
    found = {window.order: (one.layer, window) for one in maps for window in one.windows}
    ordered = [found[order] for order in sorted(found)]
    return [(layer, w) for layer, w in ordered if w.operator != "transposed convolution"]


def _stacks(
    windows: Iterable[tuple[str, SlidingWindow]],
) -> Iterator[list[tuple[str, SlidingWindow]]]:
    """Yield runs of convolutions of stride 1 of which each reads what the one before made."""
    stack: list[tuple[str, SlidingWindow]] = []
    for layer, window in windows:
        height, width = window.axes
        if window.operator != "convolution" or height.kernel_size == width.kernel_size == 1:
            continue  # a 1x1 convolution mixes channels and reads no other cell
        plain = height == width._replace(padding=height.padding) and height.stride == 1
        if stack:
            _, before = stack[-1]
            follows = before.after == window.before
            if not (plain and follows and before.axes[0].kernel_size == height.kernel_size):
                yield stack
                stack = []
        if plain:
            stack.append((layer, window))
    if stack:
        yield stack


def _taps(axis: Window, size: int) -> list[int]:
    """Return every cell that a window reads along one axis, padding too, once for every reading."""
    reach = effective_kernel_size(axis.kernel_size, dilation=axis.dilation)
    places = (size + 2 * axis.padding - reach) // axis.stride + 1
    return [
        place * axis.stride - axis.padding + tap * axis.dilation
        for place in range(places)
        for tap in range(axis.kernel_size)
    ]


def _by(sizes: Iterable[int]) -> str:
    return "x".join(str(size) for size in sizes)
