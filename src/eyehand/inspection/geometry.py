"""What every feature map of a network sees of the picture: jump, receptive field and its centre.

The network really runs, and each operator moves what its inputs see into its outputs
(`eyehand.inspection.rules`). So branches, residual paths, dilation, transposed convolutions and
control flow need no special case, and a module needs no kind that is known here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eyehand.functional.receptive_field import Window
from eyehand.inspection.dimension import Dim, Factor, Span, Tokens, still
from eyehand.inspection.operator_call import Call, Seen
from eyehand.inspection.operators import tensors
from eyehand.inspection.sight import (
    Sight,
    hull,
    pick,
    sight,
    straight,
    take,
    widen,
)
from eyehand.inspection.untouched import untouched
from eyehand.inspection.watch import Watch
from eyehand.inspection.window_rules import pool_settings


class AxisGeometry(NamedTuple):
    """What the cells of a feature map see along one axis of the picture.

    Pixel ``i`` has its centre at ``i``, as in `eyehand.functional.receptive_field`. Cell ``c`` sees
    the pixels from ``low + c * jump`` to ``high + c * jump``, and besides those of ``reach``.
    """

    pixels: int
    """Size of the picture."""
    dim: int | None
    """Dimension of the map that runs along this axis; None if none or several do."""
    jump: Fraction
    """Pixels from one cell to the next; 0 where the map does not run along this axis."""
    low: Fraction | None
    """First pixel of the first cell, negative in the padding; None if a cell's place makes no
    difference."""
    high: Fraction | None
    """Last pixel of the first cell."""
    reach: Span | None
    """Pixels that every cell sees, wherever it is: through attention, pooling over the picture,
    squeeze-and-excitation, normalization over the picture."""
    exact: bool
    """False where cells see differently far, as after interpolation or a transposed convolution:
    ``low`` and ``high`` then hold what any of them sees."""

    @property
    def size(self) -> int:
        """Theoretical receptive field in pixels, padding and holes included.

        That of a cell's own place where it has one (through windows), else ``reach``.
        """
        span = self._span
        return 0 if span is None else math.floor(span[1] - span[0]) + 1

    @property
    def centre(self) -> float | None:
        """Centre of the first cell's receptive field, in pixels; None if it sees nothing."""
        span = self._span
        return None if span is None else float(sum(span) / 2)

    @property
    def everything(self) -> bool:
        """Whether every cell sees the whole picture."""
        return self.reach is not None and self.reach[0] <= 0 and self.reach[1] >= self.pixels - 1

    @property
    def _span(self) -> Span | None:
        if self.low is None or self.high is None:
            return self.reach
        return self.low, self.high


class SlidingWindow(NamedTuple):
    """A convolution or a pooling that ran, with what its cells see before and after."""

    order: int
    """Counts all that ran."""
    operator: str
    """``convolution``, ``transposed convolution`` or ``pooling``."""
    axes: tuple[Window, Window]
    """Along the height and the width."""
    sizes: tuple[int, int]
    """Height and width of the map that it read."""
    before: tuple[AxisGeometry, AxisGeometry]
    """What the cells that it read see."""
    after: tuple[AxisGeometry, AxisGeometry]
    """What its own cells see."""


@dataclass(frozen=True)
class MapGeometry:
    """What one output of a submodule sees of the picture."""

    layer: str
    """Name of the submodule, as in ``named_modules``; the network itself is the empty name."""
    kind: str
    """Its class."""
    call: int
    """Counts the calls of this submodule."""
    output: int
    """Counts the tensors that it returned."""
    shape: tuple[int, ...]
    unknown: str | None
    """Why nothing can be said, such as ``no rule for ...``; the axes are None then."""
    height: AxisGeometry | None
    width: AxisGeometry | None
    windows: tuple[SlidingWindow, ...]
    """Windows that the submodule slid itself, not by one of its own submodules."""
    sights: tuple[Sight, Sight] | None = field(repr=False)

    def support(self, index: Sequence[int | slice]) -> tuple[range, range]:
        """Return the rows and columns that elements of the map see, inside the picture.

        Args:
            index: As for the tensor: one entry per dimension, fewer mean all of the rest.

        Returns:
            The smallest rectangle of pixels; cells of it may be holes, as in dilated stacks.

        Raises:
            ValueError: If the geometry is unknown.
        """
        if self.sights is None or self.height is None or self.width is None:
            raise ValueError(f"The geometry of layer {self.layer!r} is unknown: {self.unknown}.")
        pixels = self.height.pixels, self.width.pixels
        rows, columns = (
            _pixels(x, index, size) for x, size in zip(self.sights, pixels, strict=True)
        )
        return rows, columns


def feature_map_geometry(
    module: nn.Module, *inputs: Any, axes: tuple[int, int] = (2, 3), **keywords: Any
) -> list[MapGeometry]:
    """Return the geometry of every output of every submodule, in the order in which they ended.

    The network runs once, in evaluation mode, on the given inputs, and is left as it was. An
    operator without a rule is not fatal: what depends on it is reported as unknown. What depends on
    the picture only through control flow or Python numbers (``.item()``) is not seen. Intervals are
    never too small inside the picture, and may be too large: holes and groups are ignored, and
    what is written into a part of a tensor, as circular padding is, counts as seen all over it.

    Args:
        module: The network.
        *inputs: What it is called with. The picture is the first tensor with four dimensions or
            more, one of floating point before others.
        axes: Dimensions of the picture that are its height and width; (1, 2) for channels last.
        **keywords: What it is called with by name.

    Raises:
        ValueError: If there is no picture among the inputs.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2))
        >>> first, last, _ = feature_map_geometry(network, torch.zeros(1, 3, 16, 16))
        >>> first.layer, first.height.size, last.layer, last.height.size, int(last.height.jump)
        ('0', 3, '1', 4, 2)
        >>> last.support((0, 0, 0, 3))
        (range(0, 3), range(5, 9))
    """
    picture = find_picture((inputs, keywords))
    sizes = picture.shape[axes[0]], picture.shape[axes[1]]
    recorder = _Recorder(sizes)
    watch = Watch(picture, _beginning(picture, axes), recorder.observe)
    with untouched(module):
        recorder.follow(module, watch)
        with torch.no_grad(), watch:
            module.eval()(*inputs, **keywords)
    return recorder.maps


def find_picture(inputs: object) -> Tensor:
    """Return the first tensor with four dimensions or more, one of floating point before others.

    Raises:
        ValueError: If there is none.
    """
    found = [tensor for tensor in tensors(inputs) if tensor.ndim >= 4]
    if not found:
        shapes = [tuple(tensor.shape) for tensor in tensors(inputs)]
        raise ValueError(
            f"A picture is a tensor with at least 4 dimensions; the inputs have shapes {shapes}."
        )
    return next((tensor for tensor in found if tensor.is_floating_point()), found[0])


def _beginning(picture: Tensor, axes: tuple[int, int]) -> tuple[Sight, Sight]:
    """Return what the pixels see: themselves."""
    height, width = (axis % picture.ndim for axis in axes)
    sights = []
    for axis in (height, width):
        dims = [still(size) for size in picture.shape]
        dims[axis] = (Factor(picture.shape[axis], Fraction(1)),)
        sights.append(sight(dims, moving=(Fraction(0), Fraction(0))))
    return sights[0], sights[1]


class _Recorder:
    """Collects maps and windows while the network runs."""

    def __init__(self, sizes: tuple[int, int]) -> None:
        self.maps: list[MapGeometry] = []
        self._sizes = sizes
        self._calls: dict[str, int] = {}
        self._running: list[tuple[str, list[SlidingWindow]]] = [("", [])]
        self._order = 0

    def follow(self, module: nn.Module, watch: Watch) -> None:
        """Hook every submodule."""
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue  # takes no hooks
            part.register_forward_pre_hook(partial(self._enter, name))
            part.register_forward_hook(partial(self._leave, name, watch))

    def _enter(self, name: str, _: nn.Module, __: Any) -> None:
        self._running.append((name, []))

    def _leave(self, name: str, watch: Watch, part: nn.Module, _: Any, result: Any) -> None:
        entered, windows = self._running.pop()
        while entered != name:  # a child whose exception its parent caught was never left
            entered, windows = self._running.pop()
        call = self._calls[name] = self._calls.get(name, -1) + 1
        for output, tensor in enumerate(tensors(result)):
            seen, shape = watch.seen(tensor), tuple(tensor.shape)
            kind, own = type(part).__name__, tuple(windows)
            self.maps.append(self._map(name, kind, call, output, shape, seen, own))

    def _map(
        self,
        layer: str,
        kind: str,
        call: int,
        output: int,
        shape: tuple[int, ...],
        seen: Seen,
        windows: tuple[SlidingWindow, ...],
    ) -> MapGeometry:
        unknown, sights, height, width = None, None, None, None
        if isinstance(seen, str):
            unknown = seen
        else:
            nothing = sight([still(size) for size in shape])
            sights = (nothing, nothing) if seen is None else seen
            height, width = _axes(sights, self._sizes)
        return MapGeometry(
            layer, kind, call, output, shape, unknown, height, width, windows, sights
        )

    def observe(
        self, name: str, arguments: Mapping[str, Any], output: Tensor, before: Seen, after: Seen
    ) -> None:
        """Note a window that slid over a map."""
        kinds = {"convolution": "convolution", "avg_pool2d": "pooling"}
        kind = kinds.get(name, "pooling" if name.startswith("max_pool2d") else "")
        if not kind or not isinstance(before, tuple) or not isinstance(after, tuple):
            return
        kind = "transposed convolution" if arguments.get("transposed") else kind
        read, made = _axes(before, self._sizes), _axes(after, self._sizes)
        call = Call(name, arguments, [tuple(output.shape)], {}, 0)
        axes, sizes = [], []
        for axis in read:
            if axis.dim is None or axis.dim < output.ndim - 2:
                return
            axes.append(_window(call, axis.dim - output.ndim + 2))
            sizes.append(before[0].shape[axis.dim])
        window = SlidingWindow(
            self._order, kind, (axes[0], axes[1]), (sizes[0], sizes[1]), read, made
        )
        self._order += 1
        self._running[-1][1].append(window)


def _window(call: Call, axis: int) -> Window:
    """Return the settings of a convolution or a pooling along one of its last two dimensions."""
    if call.name != "convolution":
        return Window(*pool_settings(call, axis))
    stride, padding, dilation = (
        call.setting(name, axis) for name in ("stride", "padding", "dilation")
    )
    return Window(call.arguments["weight"].shape[axis + 2], stride, padding, dilation)


def _axes(sights: tuple[Sight, Sight], sizes: tuple[int, int]) -> tuple[AxisGeometry, AxisGeometry]:
    height, width = sights
    return _axis(height, width, sizes[0]), _axis(width, height, sizes[1])


def _axis(x: Sight, other: Sight, pixels: int) -> AxisGeometry:
    """Describe what cells see along one axis, given also what they see along the other."""
    dims = x.carrying
    for index in dims:
        if index not in other.carrying:  # else rows of patches, one behind the other
            x = straight(x, index)
    steps = [step for index in dims for step in _steps(x.dims[index])]
    low, high = (None, None) if x.moving is None else x.moving
    return AxisGeometry(
        pixels=pixels,
        dim=dims[0] if len(dims) == 1 and x.moving is not None else None,
        jump=min(steps, key=abs, default=Fraction(0)),
        low=low,
        high=high,
        reach=x.fixed,
        exact=x.exact,
    )


def _steps(dim: Dim) -> Iterable[Fraction]:
    """Yield the steps of a dimension that are not zero."""
    for part in dim:
        if isinstance(part, Tokens):
            yield from _steps(part.factors)
        elif part.step:
            yield part.step


def _pixels(x: Sight, index: Sequence[int | slice], pixels: int) -> range:
    """Return the pixels that the elements at an index see."""
    for dim in reversed(range(len(x.dims))):
        part = index[dim] if dim < len(index) else slice(None)
        if isinstance(part, slice):
            start, stop, step = part.indices(x.shape[dim])
            x = widen(take(x, dim, start, len(range(start, stop, step)), step=step), [dim])
        else:
            x = pick(x, dim, range(x.shape[dim])[part])
    span = hull(x.moving, x.fixed)
    if span is None:
        return range(0)
    return range(max(0, math.ceil(span[0])), min(pixels, math.floor(span[1]) + 1))
