"""What every feature map of a network sees of the picture, and what that gives away.

The network runs once, smoothed, and a few cells of every map are asked which pixels their gradient
reaches (`eyehand.inspection.gradient`): the first two, the last and the middle one. The first cells
tell where a field ends, the last one where it begins, so that a field is known even where it
reaches into the padding. Branches, shortcuts, dilation and control flow need no special case.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyehand.functional.convolution import effective_kernel_size
from eyehand.inspection.copies import tensors
from eyehand.inspection.findings import Finding, Place, by, judge
from eyehand.inspection.gradient import SmoothRun

PICTURE = "the picture"
"""Stands for the network's input among the names of its layers."""
NEIGHBOURS = 4
"""Cells in a row that are compared where not all see equally far, as after a transposed
convolution."""


class AxisGeometry(NamedTuple):
    """What the cells of a feature map see along one axis of the picture.

    Pixel ``i`` has its centre at ``i``, as in `eyehand.functional.receptive_field`. Cell ``c`` sees
    the pixels from ``low + c * jump`` to ``high + c * jump``.
    """

    pixels: int
    """Size of the picture."""
    middle: range
    """Pixels from the first to the last that the middle cell sees, inside the picture."""
    jump: float | None
    """Pixels from one cell to the next; None where that makes no difference, or cannot be told
    because even the outer cells see the whole picture."""
    low: float | None
    """First pixel of the first cell, negative in the padding; None where it cannot be told."""
    high: float | None
    """Last pixel of the first cell."""
    exact: bool
    """False where cells see differently far, as after interpolation or a transposed convolution:
    ``low`` and ``high`` then hold what any of those that were asked sees."""

    @property
    def size(self) -> int:
        """Theoretical receptive field in pixels, holes and, where it can be told, padding too."""
        if self.low is None or self.high is None:
            return len(self.middle)
        return int(self.high - self.low) + 1

    @property
    def centre(self) -> float | None:
        """Centre of the first cell's receptive field, in pixels; None where it cannot be told."""
        return None if self.low is None or self.high is None else (self.low + self.high) / 2

    @property
    def everything(self) -> bool:
        """Whether the middle cell sees the whole picture."""
        return len(self.middle) == self.pixels


@dataclass(frozen=True)
class MapGeometry:
    """What the first tensor that a submodule returned in its first call sees of the picture."""

    layer: str
    """Name of the submodule, as in ``named_modules``; the network itself is the empty name."""
    kind: str
    """Its class."""
    shape: tuple[int, ...]
    dims: tuple[int, ...] | None = None
    """Dimensions that run along the height and the width; None where the tensor is no map."""
    unknown: str | None = None
    """Why nothing can be said; the axes are None then."""
    height: AxisGeometry | None = None
    width: AxisGeometry | None = None
    holes: float = 0.0
    """Share of the middle cell's field, from its first to its last pixel, that the cell does not
    see: gridding."""

    @property
    def spatial(self) -> bool:
        """Whether it is a map with more than one cell along both axes."""
        return self.dims is not None and min(self.shape[dim] for dim in self.dims) > 1


@dataclass(frozen=True)
class Geometry:
    """What the maps of a network see, and what nothing sees."""

    maps: tuple[MapGeometry, ...] = ()
    """In the order in which the submodules ended."""
    findings: tuple[Finding, ...] = ()
    """Gridding; cells that nothing reads, the picture's being those of `PICTURE`; kernels larger
    than their maps; a largest field smaller than the picture."""


def measure_geometry(
    module: nn.Module, picture: Float[Tensor, "batch channel height width"], *, name: str = ""
) -> Geometry:
    """Ask what every submodule's output sees.

    A copy of the network runs once, in evaluation mode, on one picture. Only what can be
    differentiated is seen: a layer that runs under ``no_grad``, or in inference mode, is reported
    as unknown. Padding that repeats the picture, as reflection, counts as what it repeats.

    Args:
        module: A network that reads the picture alone.
        picture: A batch of pictures, of which only the shape counts; one is enough.
        name: Of the network inside a larger one; begins the names of its layers.

    References:
        Wang et al., 2018, https://arxiv.org/abs/1702.08502 (gridding).

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), nn.MaxPool2d(2))
        >>> found = measure_geometry(network, torch.zeros(1, 3, 16, 16))
        >>> first, last, _ = found.maps
        >>> first.layer, first.height.size, last.layer, last.height.size, last.height.jump
        ('0', 1, '1', 3, 4.0)
        >>> [place for one in found.findings if one.name == "Unread cells" for place in one.places]
        [Place(layer='the picture', text='75 % of its cells are never read')]
    """
    run = SmoothRun(module, picture, name)
    known: dict[int, MapGeometry] = {}
    maps = []
    for layer, output in run.outputs.items():
        if id(output) not in known:  # a ReLU passes on what it reads
            known[id(output)] = _examine(run, layer)
        maps.append(replace(known[id(output)], layer=layer, kind=type(run.parts[layer]).__name__))
    return Geometry(tuple(maps), tuple(_findings(maps, run)))


def _examine(run: SmoothRun, layer: str) -> MapGeometry:
    """Return what the cells of a layer's output see."""
    picture = run.picture.shape[-2], run.picture.shape[-1]
    shape = tuple(run.outputs[layer].shape)
    dims = _layout(shape, picture)
    sizes = [shape[dim] for dim in dims]

    def ask(cells: Sequence[int]) -> tuple[list[int], Bool[Tensor, "height width"]]:
        """Return the cell's place, inside of the map, and the pixels that it sees."""
        cells = [max(0, min(cell, size - 1)) for cell, size in zip(cells, sizes, strict=True)]
        index: list[int | slice] = [slice(None)] * len(shape)
        for dim, cell in zip(dims, cells, strict=True):
            index[dim] = cell
        return cells, run.support(layer, tuple(index))

    centre = [size // 2 for size in sizes]
    try:
        middle, pixels = ask(centre)
    except ValueError as error:
        return MapGeometry("", "", shape, unknown=str(error))
    boxes = _extent(pixels.any(1)), _extent(pixels.any(0))
    area = len(boxes[0]) * len(boxes[1])
    holes = 1 - int(pixels.sum()) / area if area else 0.0
    if len(dims) < 2:  # tokens or a vector
        height, width = (
            AxisGeometry(size, box, None, None, None, True)
            for size, box in zip(picture, boxes, strict=True)
        )
        return MapGeometry("", "", shape, height=height, width=width, holes=holes)
    asked = [(middle, pixels), ask([0, 0]), ask([1, 1]), ask([size - 1 for size in sizes])]
    axes = [_axis(asked, axis, sizes[axis], picture[axis]) for axis in (0, 1)]
    if not all(axis.exact for axis in axes):
        asked += [ask([cell + k for cell in centre]) for k in range(1, NEIGHBOURS)]
        asked.append(ask([size // 2 + _period(size) for size in sizes]))
        axes = [_axis(asked, axis, sizes[axis], picture[axis]) for axis in (0, 1)]
    # Scores of attention move along one axis only; a map moves along both, or sees the same.
    moves = [axis.jump is not None for axis in axes]
    a_map = moves[0] == moves[1] or any(
        axis.everything or size == 1 for axis, size in zip(axes, sizes, strict=True)
    )
    height, width = axes
    return MapGeometry("", "", shape, dims if a_map else None, None, height, width, holes)


def _layout(shape: Sequence[int], picture: tuple[int, int]) -> tuple[int, ...]:
    """Return the dimensions of a tensor's cells: of tokens one, of a map two."""
    if len(shape) != 4:
        return (1,) if len(shape) == 3 else ()
    # Channels last, if only that has the proportions of the picture.
    proportions = [
        dims for dims in ((2, 3), (1, 2))
        if shape[dims[0]] * picture[1] == shape[dims[1]] * picture[0]
    ]  # fmt: skip
    return proportions[0] if proportions else (2, 3)


def _period(size: int) -> int:
    """Return a step after which cells see alike again, where maps were enlarged by 2, 3, 4, ..."""
    factor = 3 if size >= 12 else 1
    return factor << max(0, (size // 4 // factor).bit_length() - 1)


def _extent(line: Bool[Tensor, " pixel"]) -> range:
    """Return the range from the first to the last that is true."""
    places = line.nonzero()
    return range(int(places[0]), int(places[-1]) + 1) if len(places) else range(0)


def _axis(
    asked: Sequence[tuple[list[int], Bool[Tensor, "height width"]]],
    axis: int,
    size: int,
    pixels: int,
) -> AxisGeometry:
    """Work out jump, first and last pixel from what a few cells see along one axis."""
    seen = {cells[axis]: _extent(sees.any(1 - axis)) for cells, sees in asked}
    last = size - 1
    result = AxisGeometry(pixels, seen[size // 2], None, None, None, True)
    if size == 1:
        inside = seen[0].start > 0 and seen[0].stop < pixels
        ends = float(seen[0].start), seen[0].stop - 1.0
        return result._replace(low=ends[0], high=ends[1]) if inside else result
    if len(set(seen.values())) == 1 or seen[1].stop == pixels:
        return result  # the place makes no difference, or the field is too large to tell
    jump = float(seen[1].stop - seen[0].stop)
    low = seen[last].start - last * jump if seen[last].start > 0 else None
    high = seen[0].stop - 1.0
    for cell, found in seen.items():
        start = found.start if low is None else max(0.0, low + cell * jump)
        if (start, min(pixels, high + cell * jump + 1)) != (found.start, found.stop):
            return _uneven(result, seen, size // 2, min(size // 2 + _period(size), last))
    if result.everything and last * jump >= pixels:
        return result  # the middle cell cannot confirm a jump that leads out of the picture
    return result._replace(jump=jump, low=low, high=high)


def _uneven(axis: AxisGeometry, seen: Mapping[int, range], first: int, second: int) -> AxisGeometry:
    """Take the step over a period, and the hull of neighbours: cells see differently far.

    So they do after a transposed convolution, and where a dilated kernel meets the padding.
    """
    if second not in seen or second == first:
        return axis._replace(exact=False)
    near, far = seen[first], seen[second]
    moved = far.stop - near.stop if far.stop < axis.pixels else far.start - near.start
    inner = {cell: found for cell, found in seen.items() if first <= cell < first + NEIGHBOURS}
    inside = all(found.start > 0 and found.stop < axis.pixels for found in inner.values())
    if moved <= 0 or not inside:
        return axis
    jump = moved / (second - first)
    lows = [found.start - cell * jump for cell, found in inner.items()]
    highs = [found.stop - 1 - cell * jump for cell, found in inner.items()]
    low, high, exact = min(lows), max(highs), len(set(lows)) == len(set(highs)) == 1
    return axis._replace(jump=jump, low=low, high=high, exact=exact)


def _findings(maps: Iterable[MapGeometry], run: SmoothRun) -> Iterator[Finding]:
    """Judge what the maps of a network see."""
    holes, small = [], []
    widest = max(
        (one for one in maps if one.height and one.width and (one.spatial or len(one.shape) == 3)),
        key=lambda found: found.height.size + found.width.size,  # type: ignore[union-attr]
        default=None,
    )
    if widest is not None and widest.height and widest.width:
        field = by((widest.height.size, widest.width.size))
        picture = widest.height.pixels, widest.width.pixels
        if widest.holes:
            share = f"{100 * widest.holes:.0f} %"
            text = f"a cell leaves out {share} of the pixels of its {field} field"
            holes.append(Place(widest.layer, text))
        if widest.height.size < picture[0] or widest.width.size < picture[1]:
            text = f"a cell sees {field} pixels of a picture of {by(picture)}"
            small.append(Place(widest.layer, f"{text}, no other map's sees more"))
    yield judge(
        "Gridding",
        holes,
        look="Give dilated layers rates without a common factor, such as 1, 2, 5, so that "
        "neighbouring pixels are seen too.",
        ok="The largest field has no holes: nothing to do.",
    )
    yield judge(
        "Unread cells",
        _unread(run),
        look="In the layer that reads it, use a kernel at least as large as the stride: these "
        "cells are computed for nothing.",
        ok="Every map is read without gaps: nothing to do.",
    )
    yield judge(
        "Kernel and map",
        _oversized(run),
        look="Use a smaller kernel or dilation, or a larger picture: part of this kernel reads "
        "only padding.",
        ok="No kernel is larger than the map that it reads: nothing to do.",
    )
    yield judge(
        "Receptive field",
        small,
        look="If one cell must recognise something larger than its field, add depth, stride or "
        "dilation.",
        ok="The largest field holds the whole picture: nothing to do.",
    )


def _unread(run: SmoothRun) -> Iterator[Place]:
    """Yield the maps of which some cells, between others, have no gradient from the outputs."""
    names = {id(run.picture): (PICTURE, run.picture)}
    for layer, output in run.outputs.items():
        if output.ndim == 4 and output.requires_grad:
            names[id(output)] = layer, output
    roots = [x.sum() for x in tensors(run.result) if x.requires_grad]
    if not roots:
        return
    gradients = torch.autograd.grad(
        torch.stack(roots).sum(), [output for _, output in names.values()], allow_unused=True
    )
    for (layer, output), gradient in zip(names.values(), gradients, strict=True):
        if gradient is None:
            continue  # a branch that ended
        dims = _layout(output.shape, (run.picture.shape[-2], run.picture.shape[-1]))
        read = gradient.abs().movedim(dims, (-2, -1)).flatten(0, -3).sum(0) > 0
        box = len(_extent(read.any(1))) * len(_extent(read.any(0)))
        if 0 < int(read.sum()) < box:
            share = 1 - float(read.double().mean())
            yield Place(layer, f"{100 * share:.0f} % of its cells are never read")


def _oversized(run: SmoothRun) -> Iterator[Place]:
    """Yield the layers whose kernel, holes included, is larger than the map that it reads."""
    for layer, x in run.inputs.items():
        part = run.parts[layer]
        if not isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            continue
        (height, width), dilations = (
            (value, value) if isinstance(value, int) else value
            for value in (part.kernel_size, getattr(part, "dilation", 1))
        )
        span = [
            effective_kernel_size(taps, dilation=step)
            for taps, step in zip((height, width), dilations, strict=True)
        ]
        size = x.shape[-2:]
        if span[0] > size[0] or span[1] > size[1]:
            yield Place(layer, f"a {by(span)} kernel, holes included, reads a {by(size)} map")
