"""Which pixels a cell depends on, asked of its gradient, and how much each of them moves it."""

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from eyehand.inspection.copies import Probe, tensors
from eyehand.inspection.smooth import Smooth, smooth_copy


class SmoothRun:
    """One run of a network's `smooth_copy`, whose layers can then be asked for their pixels.

    In the copy nothing is cut off and nothing cancels. So what is told is what the architecture can
    see, not what these weights look at.

    Args:
        module: A network that reads the picture alone.
        picture: A batch of pictures, of which only the shape counts.
        name: Of the network inside a larger one; begins the names of its submodules.

    Example:
        >>> layer = nn.Conv2d(3, 2, 3, dilation=2, padding=2)
        >>> SmoothRun(layer, torch.zeros(1, 3, 5, 5)).support("", (0, 0, 2, 2)).int()
        tensor([[1, 0, 1, 0, 1],
                [0, 0, 0, 0, 0],
                [1, 0, 1, 0, 1],
                [0, 0, 0, 0, 0],
                [1, 0, 1, 0, 1]], dtype=torch.int32)
    """

    def __init__(
        self,
        module: nn.Module,
        picture: Float[Tensor, "batch channel height width"],
        name: str = "",
    ) -> None:
        network = smooth_copy(module)
        generator = torch.Generator().manual_seed(0)
        self.picture = torch.rand(picture.shape, generator=generator, dtype=torch.float64)
        self.picture.requires_grad_(True)
        self.inputs: dict[str, Tensor] = {}
        """First tensor that the first call of each submodule read."""
        self.outputs: dict[str, Tensor] = {}
        """First tensor that the first call of each submodule returned, in the order of their end.
        Layers that only pass on what they read, as a ReLU does here, hold the same tensor."""

        def keep(name: str, _: nn.Module, read: Any, result: Any) -> None:
            for known, value in ((self.inputs, read), (self.outputs, result)):
                first = next(tensors(value), None)
                if first is not None:
                    known.setdefault(name, first)

        self.parts = dict(network.named_modules(prefix=name))
        for layer, part in self.parts.items():
            if not isinstance(part, torch.jit.ScriptModule):  # takes no hooks
                part.register_forward_hook(partial(keep, layer))
        with Smooth(), torch.enable_grad():
            self.result = network(self.picture)

    def support(self, layer: str, index: tuple[int | slice, ...]) -> Bool[Tensor, "height width"]:
        """Return which pixels can change elements of what a layer returned.

        Args:
            layer: Name of a submodule, of whose first call the first tensor is meant.
            index: Element of its output; slices ask for several at once.

        Returns:
            True where the gradient is not zero.

        Raises:
            ValueError: If the layer does not exist or did not run, or if no gradient flows: it ran
                under ``no_grad``, or the picture makes no difference to it.
        """
        if layer not in self.outputs:
            raise ValueError(f"There is no layer {layer!r} that ran and returned a tensor.")
        gradient = gradient_of(self.outputs[layer][index].sum(), self.picture)
        if gradient is None:
            raise ValueError(
                "No gradient flows back to the picture: the layer runs under no_grad, or the "
                "picture makes no difference to it."
            )
        return gradient.abs().sum((0, 1)) > 0


def gradient_of(value: Tensor, x: Tensor) -> Tensor | None:
    """Return the gradient of a number, whose graph is kept; ``None`` if none flows back to x."""
    if not value.requires_grad:
        return None
    return torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)[0]


def effective_receptive_field(
    module: nn.Module,
    picture: Float[Tensor, "batch channel height width"],
    layer: str,
    *,
    samples: int = 20,
    seed: int = 0,
) -> Float64[Tensor, "height width"]:
    """Measure how much each pixel moves the central cell of a layer (Luo et al., 2016).

    The network is the real one. Pictures are Gaussian noise; channels of the cell are weighed by
    random signs, so that their squared gradients add up. The field is nearly Gaussian, far smaller
    than the theoretical one, and grows only with the square root of the depth: a network that could
    see the picture need not look at it.

    Args:
        module: A network that reads the picture alone.
        picture: A batch of pictures of floating point, of which only the shape counts.
        layer: Name of a submodule whose output is ``(batch, channel, height, width)``.
        samples: Batches of noise.
        seed: Decides them.

    Returns:
        Root mean square of the gradient, 1 at the strongest pixel.

    Raises:
        ValueError: If there is no such layer, its output has no height and width, or no gradient
            reaches the picture.

    References:
        Luo et al., 2016, https://arxiv.org/abs/1701.04128.
    """
    generator = torch.Generator().manual_seed(seed)
    heat = torch.zeros(picture.shape[-2:], dtype=torch.float64)
    probe = Probe(module, layer)
    with torch.enable_grad():
        for _ in range(samples):
            noise = torch.randn(picture.shape, generator=generator).to(picture).requires_grad_(True)
            output = probe(noise)
            if output.ndim != 4:
                raise ValueError(
                    f"The output of layer {layer!r} must be (batch, channel, height, width) to "
                    f"have a central cell. Got {tuple(output.shape)}."
                )
            cell = output[:, :, output.shape[2] // 2, output.shape[3] // 2]
            signs = torch.randint(2, cell.shape, generator=generator) * 2 - 1
            (gradient,) = torch.autograd.grad((cell * signs.to(cell)).sum(), noise)
            heat += (gradient.double() ** 2).sum((0, 1)).cpu()
    if not heat.max() > 0:
        raise ValueError(f"No gradient of layer {layer!r} reaches the picture: it is all zero.")
    return (heat / heat.max()).sqrt()


def effective_size(heat: Float64[Tensor, "height width"]) -> float:
    """Return the side of the square whose area an effective field has, in pixels.

    The field is where the heat is above 1 - 95.45 %, two standard deviations of a Gaussian.
    """
    return math.sqrt(int((heat > 1 - 0.9545).sum()))
