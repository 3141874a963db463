"""What one unit of a network likes: a picture made for it, and the patches that excite it most."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.copies import Probe
from eyehand.inspection.geometry import AxisGeometry, MapGeometry
from eyehand.inspection.pictures import Picture, as_picture

STEP = 0.05
"""Root mean square of the change of a pixel in one step of ascent; pixels lie in [-1, 1]."""
JITTER = 2
"""Pixels by which the picture is shifted to and fro."""
BATCH = 32
"""Pictures that the network reads at once."""


def gradient_ascent(
    module: nn.Module,
    layer: str,
    channel: int,
    *,
    image_size: int,
    channels: int = 3,
    steps: int = 128,
    seed: int = 0,
) -> tuple[Picture, float, float]:
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

    Returns:
        The picture, and the activation of the noise and of the picture.

    Raises:
        ValueError: If there is no such layer or channel, or no gradient reaches the picture.

    References:
        Erhan et al., 2009, Technical Report 1341, University of Montreal.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.1 * torch.randn(1, channels, image_size, image_size, generator=generator)
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blur = kernel.outer(kernel).expand(channels, 1, 3, 3)
    probe = Probe(module, layer)
    number = next((weight for weight in module.parameters() if weight.is_floating_point()), pixels)

    def activation(picture: Tensor) -> Tensor:
        output = probe(picture.to(number))  # in its own precision
        return _channel(output, layer, channel).mean()

    with torch.enable_grad():
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
    return as_picture(pixels[0], limits=(-1.0, 1.0)), before, after


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
    probe = Probe(module, layer)
    with torch.no_grad():
        values = torch.cat([_channel(probe(part), layer, channel) for part in images.split(BATCH)])
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


def _channel(output: Tensor, layer: str, channel: int) -> Tensor:
    """Return one channel of what a layer returned."""
    shape = tuple(output.shape)
    if len(shape) < 2 or not 0 <= channel < shape[1]:
        raise ValueError(f"Layer {layer!r} returned {shape}: there is no channel {channel}.")
    return output[:, channel]


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
