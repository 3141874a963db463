"""What one unit of a network likes: a picture made for it, and the patches that excite it most."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.geometry import AxisGeometry, MapGeometry
from eyehand.inspection.nested import tensors
from eyehand.inspection.pictures import Picture, as_picture, layer_output, submodule
from eyehand.inspection.untouched import untouched

STEP = 0.05
"""Root mean square of the change of a pixel in one step of ascent; pixels lie in [-1, 1]."""
JITTER = 2
"""Pixels by which the picture is shifted to and fro."""
BATCH = 32
"""Pictures that the network reads at once."""


@dataclass(frozen=True)
class Ascent:
    """A picture made to excite one unit."""

    picture: Picture
    before: float
    """Activation of the noise that it began with."""
    after: float


def gradient_ascent(
    module: nn.Module,
    layer: str,
    channel: int,
    *,
    image_size: int,
    channels: int = 3,
    steps: int = 128,
    seed: int = 0,
) -> Ascent:
    """Climb from noise to a picture that excites a channel (Erhan et al., 2009).

    The picture is shifted by a random pixel or two at every step and blurred a little at every
    fourth: without that it becomes noise of high frequency that excites the unit just as well. A
    unit that is dead on noise has no gradient: choose the layer before the ReLU.

    Args:
        module: A network that reads pictures in [-1, 1] alone.
        layer: Name as in ``named_modules``.
        channel: Axis 1 of its output; what is maximised is the mean over the other axes.
        image_size: Height and width of the picture, in pixels.
        channels: Channels of the picture.
        steps: Steps of ascent.
        seed: Decides noise and shifts.

    Raises:
        ValueError: If there is no such layer or channel, or no gradient reaches the picture.

    References:
        Erhan et al., 2009, Technical Report 1341, University of Montreal.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.1 * torch.randn(1, channels, image_size, image_size, generator=generator)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blur = kernel.outer(kernel).expand(channels, 1, 3, 3)
    found: list[Tensor] = []
    number = next((weight for weight in module.parameters() if weight.is_floating_point()), pixels)
    with untouched(module), torch.enable_grad():
        part = submodule(module, layer)
        part.register_forward_hook(lambda _, __, output: found.extend(tensors(output)))
        module.eval().requires_grad_(False)

        def activation(picture: Tensor) -> Tensor:
            found.clear()
            module(picture.to(number))  # in its own precision
            return _channel(found, layer, channel).mean()

        before = float(activation(pixels))
        for step in range(steps):
            shift = torch.randint(-JITTER, JITTER + 1, (2,), generator=generator).tolist()
            moved = pixels.roll(shift, dims=(2, 3)).requires_grad_(True)
            value = activation(moved)
            if not value.requires_grad:
                raise ValueError(f"No gradient of layer {layer!r} reaches the picture.")
            (gradient,) = torch.autograd.grad(value, moved)
            size = gradient.square().mean().sqrt()
            moved = moved.detach() + STEP * gradient / size.clamp(min=1e-12)
            pixels = moved.roll([-by for by in shift], dims=(2, 3)).clamp(-1, 1)
            if step % 4 == 0:
                padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
                pixels = 0.5 * pixels + 0.5 * F.conv2d(padded, blur, groups=channels)
        after = float(activation(pixels))
    return Ascent(as_picture(pixels[0], limits=(-1.0, 1.0)), before, after)


@dataclass(frozen=True)
class Patches:
    """The patches that excite one unit most, the strongest first."""

    pictures: UInt8[np.ndarray, "patch height width 3"]
    """What the unit sees of each picture; grey outside of it."""
    index: tuple[int, ...]
    """Which picture each was cut from."""
    activation: tuple[float, ...]


def nearest_patches(
    module: nn.Module,
    layer: str,
    channel: int,
    images: Float[Tensor, "batch channel height width"],
    *,
    geometry: MapGeometry | None = None,
    count: int = 9,
) -> Patches:
    """Find what excites a channel most, one patch a picture (Zeiler and Fergus, 2014, fig. 2).

    Args:
        module: A network that reads the pictures alone.
        layer: Name as in ``named_modules``.
        channel: Axis 1 of its output.
        images: Pictures of a data set.
        geometry: What the cells of this layer see, as `measure_geometry` gives it; without it,
            or where a cell has no place of its own, the whole picture is shown.
        count: Patches.

    Raises:
        ValueError: If there is no such layer or channel.

    References:
        Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901.
    """
    best = [_peaks(module, layer, channel, part) for part in images.split(BATCH)]
    strength = torch.cat([values for values, _ in best])
    places = torch.cat([place for _, place in best])
    order = strength.argsort(descending=True, stable=True)[:count].tolist()
    limits = float(images.min()), float(images.max())
    axes = (None, None) if geometry is None else (geometry.height, geometry.width)
    pictures = []
    for index in order:
        picture = as_picture(images[index], limits=limits)
        for axis, (along, cell) in enumerate(zip(axes, places[index].tolist(), strict=True)):
            picture = _cut(picture, axis, along, cell)
        pictures.append(picture)
    values = tuple(float(strength[index]) for index in order)
    return Patches(np.stack(pictures), tuple(order), values)


def _peaks(module: nn.Module, layer: str, channel: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each picture the largest activation of the channel, and its row and column."""
    values = _channel([layer_output(module, (images,), layer)], layer, channel)
    values = values.reshape(len(images), -1, values.shape[-1] if values.ndim == 3 else 1)
    strength, place = values.flatten(start_dim=1).max(dim=1)
    width = values.shape[-1]
    return strength, torch.stack([place // width, place % width], dim=1)


def _channel(outputs: list[Tensor], layer: str, channel: int) -> Tensor:
    """Return one channel of the first output."""
    if not outputs:
        raise ValueError(f"Layer {layer!r} was not called on this input.")
    shape = tuple(outputs[0].shape)
    if len(shape) < 2 or not 0 <= channel < shape[1]:
        raise ValueError(f"Layer {layer!r} returned {shape}: there is no channel {channel}.")
    return outputs[0][:, channel]


def _cut(
    picture: Picture, axis: int, seen: AxisGeometry | None, cell: int
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Cut along one axis what a cell sees, padded with grey where that is outside."""
    if seen is None or seen.low is None or seen.jump is None:
        return picture
    start, size = round(seen.low + cell * seen.jump), seen.size
    shape = list(picture.shape)
    shape[axis] = size
    patch = np.full(shape, 128, np.uint8)
    first, last = max(start, 0), min(start + size, picture.shape[axis])
    inside = [slice(None)] * 3
    source = [slice(None)] * 3
    inside[axis], source[axis] = slice(first - start, last - start), slice(first, last)
    patch[tuple(inside)] = picture[tuple(source)]
    return patch
