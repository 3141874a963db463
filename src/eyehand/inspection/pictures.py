"""Pictures of what a network sees: filters, activations, gradients; how numbers become colors.

Every function returns ``uint8`` pictures of three channels or plain arrays, and runs a copy of the
network in evaluation mode.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from eyehand.inspection.copies import Probe, tensors, working_copy
from eyehand.inspection.operators import Operator, traced

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
REMEMBERED = 16
"""Maps before the last layer that may be the one that a classifier averages."""


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
    ((height, width, _),) = sizes
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        whole[top : top + height, left : left + width] = picture
    return whole


def filters(module: nn.Module) -> UInt8[np.ndarray, "rows columns 3"]:
    """Show the filters of the first two-dimensional convolution, each on its own scale.

    Zero is grey. Filters that read three channels are in color; of others every input channel is
    a cell of its own. At most 256 cells are shown.

    Args:
        module: The network.

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
        value = _score(working_copy(module).eval()(pixels))
        gradient = None
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, pixels, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"No gradient of {type(module).__name__}'s output reaches the picture: "
            "it is cut on the way."
        )
    return gradient[0].abs().amax(dim=0).cpu().numpy()


def _score(outputs: object) -> Tensor:
    """Return the largest number of an output ``(1, classes)``, else the sum of squares of all."""
    found = [x for x in tensors(outputs) if x.is_floating_point()]
    if not isinstance(outputs, Mapping) and len(found) == 1 and found[0].ndim == 2:
        return found[0].max()
    if not found:
        raise ValueError("The network returned no tensor of floating point.")
    return torch.stack([x.square().sum() for x in found]).sum()


def class_activation_map(
    module: nn.Module,
    image: Float[Tensor, "1 channel height width"],
    *,
    class_index: int | None = None,
) -> tuple[Float[np.ndarray, "rows columns"], int]:
    r"""Weigh the channels of the last map as the classifier does (Zhou et al., 2016, eq. 2).

    .. math:: M_c(y, x) = \sum_k w_{ck} f_k(y, x)

    The network must end in an average over space and one linear layer; whether it does is told by
    its numbers on this picture, so that functional calls and dropout between the two are allowed.

    Args:
        module: A classifier.
        image: One picture.
        class_index: The class; ``None`` means the one with the largest logit.

    Returns:
        How much each place of the map speaks for the class (the mean, with the bias added, is its
        logit), and the class.

    Raises:
        ValueError: If the network does not end so, or the class is out of range.

    References:
        Zhou et al., 2016, https://arxiv.org/abs/1512.04150.

    Example:
        >>> ending = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)]
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), *ending)
        >>> class_activation_map(network, torch.ones(1, 3, 8, 8))[0].shape
        (6, 6)
    """
    maps: deque[Tensor] = deque(maxlen=REMEMBERED)
    averaged: list[tuple[Tensor, Tensor, Tensor]] = []

    def watch(ran: Operator, args: tuple[Any, ...], result: Any) -> None:
        """Remember a map, or look which one a matrix product read the means of."""
        if isinstance(result, Tensor) and result.ndim == 4 and result.shape[2:].numel() > 1:
            maps.append(result)
        elif ran.name in ("addmm", "mm"):
            features, weight = args[-2:]
            for found in reversed(maps):
                means = found.mean(dim=(2, 3), dtype=features.dtype)
                if means.shape == features.shape and torch.allclose(means, features, 1e-4, 1e-6):
                    averaged.append((found[0], weight, result))
                    return

    with traced(module, observe=watch) as trace, torch.no_grad():
        output = next(tensors(trace.network.eval()(image)), None)
    if output is None or not averaged or not torch.equal(output, averaged[-1][2]):
        raise ValueError(
            "A class activation map needs a network that ends in an average over space and one "
            f"linear layer (Zhou et al., 2016); {type(module).__name__} does not."
        )
    features, weight, logits = averaged[-1]
    chosen = int(logits.argmax()) if class_index is None else class_index
    if not 0 <= chosen < weight.shape[1]:
        raise ValueError(f"`class_index` must lie in 0 to {weight.shape[1] - 1}. Got {chosen}.")
    values = torch.einsum("k,kyx->yx", weight[:, chosen], features)
    return values.detach().cpu().numpy(), chosen
