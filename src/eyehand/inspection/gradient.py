"""Which pixels a cell depends on, asked of its gradient: the truth that geometry is held against.

And how much: the effective receptive field, which is a small part of the theoretical one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from eyehand.inspection.geometry import find_picture
from eyehand.inspection.operators import tensors
from eyehand.inspection.untouched import untouched

Inputs = Sequence[Any] | Mapping[str, Any]
"""What a network is called with: by position or by name."""


def gradient_support(
    module: nn.Module,
    inputs: Inputs,
    layer: str,
    index: tuple[int | slice, ...],
    *,
    call: int = 0,
    output: int = 0,
    axes: tuple[int, int] = (2, 3),
) -> Bool[Tensor, "height width"]:
    """Return which pixels an element of a layer's output can depend on.

    The gradient of a copy of the network, in float64, with positive random weights, maxima replaced
    by means, activations and batch normalization by the identity, and other normalizations by
    adding the mean: nothing is cut off and nothing cancels. So this is what the architecture can
    see, not what these weights look at.

    Args:
        module: The network.
        inputs: As for `eyehand.inspection.geometry.feature_map_geometry`, in a tuple or a dict.
        layer: Name of a submodule.
        index: Element of its output; slices ask for several at once.
        call: Which call of the submodule.
        output: Which of the tensors that it returns.
        axes: Dimensions of the picture that are its height and width.

    Returns:
        True where the gradient is not zero.

    Raises:
        ValueError: If the layer does not exist or did not run, or no gradient flows: it ran under
            ``no_grad``, or the picture makes no difference to it.

    Example:
        >>> layer = nn.Conv2d(3, 2, 3, dilation=2, padding=2)
        >>> gradient_support(layer, (torch.zeros(1, 3, 5, 5),), "", (0, 0, 2, 2)).int()
        tensor([[1, 0, 1, 0, 1],
                [0, 0, 0, 0, 0],
                [1, 0, 1, 0, 1],
                [0, 0, 0, 0, 0],
                [1, 0, 1, 0, 1]], dtype=torch.int32)
    """
    generator = torch.Generator().manual_seed(0)
    network = deepcopy(module).double().eval().requires_grad_(False)
    for weight in network.parameters():
        # Scaled by what they add up over, so that sums stay near 1 however deep the network is.
        fan_in = weight[0].numel() if weight.ndim > 1 else 1
        weight.uniform_(0.5 / fan_in, 1.5 / fan_in, generator=generator)
    picture = torch.rand(find_picture(inputs).shape, generator=generator, dtype=torch.float64)
    picture.requires_grad_(True)
    with _Smooth():
        result = _layer_output(network, _with_picture(inputs, picture), layer, call, output)
    (gradient,) = torch.autograd.grad(result[index].sum(), picture)
    return _per_pixel(gradient.abs(), axes) > 0


@dataclass(frozen=True)
class EffectiveField:
    """How strongly the pixels of a picture move the central cell of a layer."""

    heat: Float64[Tensor, "height width"]
    """Root mean square of the gradient, 1 at the strongest pixel."""

    @property
    def size(self) -> float:
        """Side of the square whose area the effective field has, in pixels.

        The field is where the heat is above 1 - 95.45 %, two standard deviations of a Gaussian.
        """
        return math.sqrt(int((self.heat > 1 - 0.9545).sum()))

    @property
    def radius(self) -> float:
        """Radius of the circle of the same area, in pixels."""
        return self.size / math.sqrt(math.pi)


def effective_receptive_field(
    module: nn.Module,
    inputs: Inputs,
    layer: str,
    *,
    samples: int = 20,
    seed: int = 0,
    axes: tuple[int, int] = (2, 3),
) -> EffectiveField:
    """Measure how much each pixel moves the central cell of a layer (Luo et al., 2016).

    The network is the real one. Pictures are Gaussian noise; channels of the cell
    are weighed by random signs, so that their squared gradients add up. It is nearly Gaussian, far
    smaller than the theoretical field, and grows only with the square root of the depth: a network
    that could see the picture need not look at it.

    Args:
        module: The network; its pictures are of floating point.
        inputs: As for `gradient_support`; the picture gives the shape only.
        layer: Name of a submodule whose output is ``(batch, channel, height, width)``.
        samples: Batches of noise.
        seed: Decides them.
        axes: Dimensions of the picture that are its height and width.

    Raises:
        ValueError: If the output has no height and width, or no gradient reaches the picture.

    References:
        Luo et al., 2016, https://arxiv.org/abs/1701.04128.

    Example:
        >>> layer = nn.Conv2d(1, 8, 3, padding=1)
        >>> effective_receptive_field(layer, (torch.zeros(1, 1, 9, 9),), "").size
        3.0
    """
    generator = torch.Generator().manual_seed(seed)
    before = find_picture(inputs)
    heat = torch.zeros(before.shape[axes[0]], before.shape[axes[1]], dtype=torch.float64)
    with untouched(module):
        module.eval().requires_grad_(False)
        for _ in range(samples):
            picture = torch.randn(before.shape, generator=generator).to(before)
            picture.requires_grad_(True)
            result = _layer_output(module, _with_picture(inputs, picture), layer, 0, 0)
            if result.ndim != 4:
                raise ValueError(
                    f"The output of layer {layer!r} must be (batch, channel, height, width) to "
                    f"have a central cell. Got {tuple(result.shape)}."
                )
            cell = result[:, :, result.shape[2] // 2, result.shape[3] // 2]
            signs = torch.randint(2, cell.shape, generator=generator) * 2 - 1
            (gradient,) = torch.autograd.grad((cell * signs.to(cell)).sum(), picture)
            heat += _per_pixel(gradient.double() ** 2, axes).cpu()
    if not heat.max() > 0:
        raise ValueError(f"No gradient of layer {layer!r} reaches the picture: it is all zero.")
    return EffectiveField((heat / heat.max()).sqrt())


def _per_pixel(gradient: Tensor, axes: tuple[int, int]) -> Tensor:
    """Sum over everything but the height and the width."""
    return gradient.movedim(axes, (-2, -1)).flatten(0, -3).sum(0)


def _with_picture(inputs: Inputs, picture: Tensor) -> Inputs:
    """Put another picture in the place of the inputs' own, and cast the others to its type."""
    before = find_picture(inputs)

    def put(tensor: Tensor) -> Tensor:
        if tensor is before:
            return picture
        return tensor.to(picture.dtype) if tensor.is_floating_point() else tensor

    return tree_map_only(Tensor, put, inputs)


def _layer_output(module: nn.Module, inputs: Inputs, layer: str, call: int, output: int) -> Tensor:
    """Run a network and return what one of its submodules returned."""
    results: list[Tensor] = []
    parts = dict(module.named_modules())
    if layer not in parts:
        raise ValueError(f"The network has no layer {layer!r}.")

    def keep(_: nn.Module, __: Any, result: Any) -> None:
        results.append(list(tensors(result))[output])

    handle = parts[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            _ = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
    finally:
        handle.remove()
    if call >= len(results):
        raise ValueError(f"Layer {layer!r} ran {len(results)} times; there is no call {call}.")
    if not results[call].requires_grad:
        raise ValueError(
            f"No gradient flows from layer {layer!r} to the picture: it runs under no_grad, or the "
            "picture makes no difference to it."
        )
    return results[call]


class _Smooth(TorchFunctionMode):
    """Replaces what cuts gradients off by what lets them through."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or its replacement."""
        replacement = _REPLACEMENTS.get(getattr(func, "__name__", ""), func)
        return replacement(*args, **(kwargs or {}))


def _identity(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _add_mean(x: Tensor, dim: int | list[int], *_: Any, **__: Any) -> Tensor:
    return x + x.mean(dim, keepdim=True)


def _layer_norm(x: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    return _add_mean(x, list(range(-len(normalized_shape), 0)))


def _group_norm(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _add_mean(x, list(range(1, x.ndim)))


def _instance_norm(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _add_mean(x, list(range(2, x.ndim)))


def _mean_pool(
    x: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Average over the windows of a max pooling: average pooling itself knows no dilation."""
    stride = stride or kernel_size
    kernel, steps, pads = (
        (value, value) if isinstance(value, int) else value
        for value in (kernel_size, stride, padding)
    )
    height, width = F.max_pool2d(
        x.detach(), kernel_size, stride, padding, dilation, ceil_mode
    ).shape[-2:]
    # Windows over the far edge, which ceil_mode admits, read the same zeros as padding.
    x = F.pad(x, (pads[1], pads[1] + steps[1], pads[0], pads[0] + steps[0]))
    weight = x.new_full((x.shape[1], 1, *kernel), 1 / math.prod(kernel))
    pooled = F.conv2d(x, weight, stride=steps, dilation=dilation, groups=x.shape[1])
    return pooled[..., :height, :width]


def _adaptive_mean_pool(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    return F.adaptive_avg_pool2d(x, output_size)


_PASSED_THROUGH = (
    "relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ gelu silu mish "
    "hardswish hardsigmoid hardtanh hardtanh_ sigmoid sigmoid_ tanh tanh_ softplus softsign "
    "logsigmoid prelu rrelu threshold tanhshrink softshrink hardshrink batch_norm"
)
_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_PASSED_THROUGH.split(), _identity),
    **dict.fromkeys(("softmax", "log_softmax"), _add_mean),
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "max_pool2d": _mean_pool,
    "adaptive_max_pool2d": _adaptive_mean_pool,
}
