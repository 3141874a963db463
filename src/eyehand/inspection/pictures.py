"""Pictures of what a network sees: filters, activations, gradients; how numbers become colors.

Every function returns ``uint8`` pictures of three channels or plain arrays, and runs a copy of the
network in evaluation mode.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from eyehand.inspection.copies import Probe, floating, working_copy
from eyehand.inspection.geometry import AxisGeometry, MapGeometry
from eyehand.inspection.gradient import gradient_of

Picture = UInt8[np.ndarray, "height width 3"]

VIRIDIS = np.frombuffer(
    bytes.fromhex(
        "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c "
        "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
    ),
    dtype=np.uint8,
).reshape(-1, 3)
"""Seventeen even steps of the color map viridis (Smith and van der Walt, 2015, CC0) from dark to
bright: its brightness rises evenly, and color-blind readers can tell its steps apart."""
MOST_CELLS = 256
"""Cells of a grid, at most."""
BATCH = 32
"""Pictures of a data set that the network reads at once."""


def heat_map(
    values: Float[np.ndarray, "height width"], *, limits: tuple[float, float] | None = None
) -> Picture:
    """Color numbers from dark blue (lowest) to yellow (highest).

    Args:
        values: Any finite numbers.
        limits: What is darkest and brightest; ``None`` means the lowest and the highest.
    """
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    place = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * (len(VIRIDIS) - 1)
    steps = np.arange(len(VIRIDIS))
    colors = [np.interp(place, steps, VIRIDIS[:, channel]) for channel in range(3)]
    return np.stack(colors, axis=-1).round().astype(np.uint8)


def as_picture(
    image: Float[Tensor, "channel height width"], *, limits: tuple[float, float] | None = None
) -> Picture:
    """Show what a network reads; other than three channels are shown as their mean, in grey.

    Args:
        image: Numbers in any range.
        limits: What is black and white; ``None`` means the lowest and the highest.
    """
    if len(image) != 3:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    low, high = (float(image.min()), float(image.max())) if limits is None else limits
    shown = ((image - low) / ((high - low) or 1.0)).clamp(0, 1) * 255
    return shown.movedim(0, -1).round().byte().cpu().numpy()


def overlay(picture: Picture, values: Float[np.ndarray, "rows columns"]) -> Picture:
    """Lay a heat map, half transparent, over the picture that it is about.

    Args:
        picture: The picture.
        values: Numbers over the same field, at any resolution; enlarged without steps.
    """
    height, width = picture.shape[:2]
    shown = Image.fromarray(values.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    limits = float(values.min()), float(values.max())
    mixed = 0.5 * picture + 0.5 * heat_map(np.asarray(shown), limits=limits)
    return mixed.round().astype(np.uint8)


def grid(pictures: Sequence[Picture]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Put pictures of one size side by side, row by row, one white pixel apart.

    Raises:
        ValueError: If there are none, or their sizes differ.
    """
    sizes = {picture.shape for picture in pictures}
    if len(sizes) != 1:
        raise ValueError(f"A grid needs pictures of one size. Got {sorted(sizes)}.")
    columns = math.ceil(math.sqrt(len(pictures)))
    cells = [np.pad(one, ((0, 1), (0, 1), (0, 0)), constant_values=255) for one in pictures]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)[:-1, :-1]


def filters(module: nn.Module) -> UInt8[np.ndarray, "rows columns 3"]:
    """Show the filters of the first two-dimensional convolution, each on its own scale.

    Zero is grey. Filters that read three channels are in color; of others every input channel is
    a cell of its own. At most 256 cells are shown.

    Raises:
        ValueError: If it has no two-dimensional convolution.
    """
    found = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    first = next(found, None)
    if first is None:
        raise ValueError(f"{type(module).__name__} has no `nn.Conv2d` whose filters can be shown.")
    weight = first.weight.detach().float()
    if weight.shape[1] != 3:
        weight = weight.flatten(end_dim=1)[:, None]
    cells = []
    for one in weight[:MOST_CELLS]:
        largest = float(one.abs().max()) or 1.0
        cells.append(as_picture(one, limits=(-largest, largest)))
    return grid(cells)


def activation_maps(
    module: nn.Module, inputs: tuple[Any, ...], layer: str, *, channels: int = 64
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Show the channels of a feature map for the first picture of the batch.

    All channels share one scale, so that a dark one is a weak one.

    Args:
        module: The network.
        inputs: Positional arguments.
        layer: Name of a submodule that returns ``(batch, channel, height, width)``.
        channels: The first so many are shown.

    Raises:
        ValueError: If the layer is missing, not called, or returns another shape.
    """
    with torch.no_grad():
        output = Probe(module, layer)(*inputs)
    if output.ndim != 4:
        raise ValueError(
            f"Only a map (batch, channel, height, width) can be shown. "
            f"Layer {layer!r} returned {tuple(output.shape)}."
        )
    maps = output[0, :channels].double().cpu().numpy()
    limits = float(maps.min()), float(maps.max())
    return grid([heat_map(one, limits=limits) for one in maps])


def input_gradient(
    module: nn.Module, image: Float[Tensor, "1 channel height width"]
) -> Float[np.ndarray, "height width"]:
    """Return how much each pixel moves the output (Simonyan et al., 2014, sec. 3.1).

    The gradient's magnitude, the largest over the channels: of the largest number of an output
    ``(1, classes)``, else of the sum of squares of all numbers. It tells which pixels would change
    the output if they changed a little, not which ones made it.

    Args:
        module: A network that reads the picture alone.
        image: One picture.

    Raises:
        ValueError: If no gradient of the output reaches the picture.

    References:
        Simonyan et al., 2014, https://arxiv.org/abs/1312.6034, who call it a saliency map.
    """
    with torch.enable_grad():
        pixels = image.detach().clone().requires_grad_(True)
        gradient = gradient_of(_score(working_copy(module).eval()(pixels)), pixels)
    if gradient is None:
        raise ValueError(
            f"No gradient of {type(module).__name__}'s output reaches the picture: "
            "it is cut on the way."
        )
    return gradient[0].abs().amax(dim=0).cpu().numpy()


def _score(outputs: object) -> Tensor:
    """Return the largest number of an output ``(1, classes)``, else the sum of squares of all."""
    found = floating(outputs)
    if not isinstance(outputs, Mapping) and len(found) == 1 and found[0].ndim == 2:
        return found[0].max()
    return torch.stack([x.square().sum() for x in found]).sum()


def nearest_patches(
    module: nn.Module,
    layer: str,
    channel: int,
    images: Float[Tensor, "batch channel height width"],
    *,
    geometry: MapGeometry | None = None,
    count: int = 9,
) -> list[tuple[int, float, UInt8[np.ndarray, "rows columns 3"]]]:
    """Find what excites a channel most, one patch a picture (Zeiler and Fergus, 2014, fig. 2).

    Args:
        module: A network that reads the pictures alone.
        layer: Name as in ``named_modules``.
        channel: Axis 1 of its output.
        images: Pictures of a data set.
        geometry: What the cells of this layer see, as `measure_geometry` gives it; without it,
            or where a cell has no place of its own, the whole picture is shown.
        count: Patches.

    Returns:
        The strongest first: number of the picture, activation, and what the unit sees of it, grey
        outside of the picture.

    Raises:
        ValueError: If there is no such layer or channel.

    References:
        Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901.
    """
    probe, found = Probe(module, layer), []
    for part in images.split(BATCH):
        with torch.no_grad():
            output = probe(part)
        shape = tuple(output.shape)
        if len(shape) < 2 or not 0 <= channel < shape[1]:
            raise ValueError(f"Layer {layer!r} returned {shape}: there is no channel {channel}.")
        found.append(output[:, channel])
    values = torch.cat(found)
    values = values.reshape(len(images), -1, values.shape[-1] if values.ndim == 3 else 1)
    strength, place = values.flatten(start_dim=1).max(dim=1)
    limits = float(images.min()), float(images.max())
    axes = (None, None) if geometry is None else (geometry.height, geometry.width)
    patches = []
    for index in strength.argsort(descending=True, stable=True)[:count].tolist():
        patch = as_picture(images[index], limits=limits)
        cells = divmod(int(place[index]), values.shape[-1])
        for axis, (seen, cell) in enumerate(zip(axes, cells, strict=True)):
            patch = _cut(patch, axis, seen, cell)
        patches.append((index, float(strength[index]), patch))
    return patches


def _cut(
    picture: Picture, axis: int, seen: AxisGeometry | None, cell: int
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Cut along one axis what a cell sees, padded with grey where that is outside."""
    if seen is None or seen.low is None or seen.jump is None:
        return picture
    size = seen.size
    margins = [(0, 0)] * 3
    margins[axis] = (size, size)
    start = size + round(seen.low + cell * seen.jump)
    padded = np.pad(picture, margins, constant_values=128)
    return padded.take(range(start, start + size), axis, mode="clip")
