"""A copy of a network whose gradient is positive wherever the architecture lets anything through.

A gradient of the network itself can be zero by chance: a ReLU is off, a maximum is elsewhere, a
weight is zero, two paths cancel. The copy has positive weights, means in place of maxima, and the
identity in place of activations. What is then zero can make no difference.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LARGE = 1 << 16
"""Elements from which on the copy of a weight repeats one row, to save memory."""


def smooth_copy(module: nn.Module) -> nn.Module:
    """Return a copy in float64 and evaluation mode with positive weights; run it in `Smooth`.

    Args:
        module: The network, which stays as it is; its large weights are not copied.
    """
    generator = torch.Generator().manual_seed(0)
    memo: dict[int, Any] = {}
    for weight in module.parameters():
        shape = weight.shape
        drawn = shape[-1:] if weight.numel() > LARGE else shape
        values = 0.5 + torch.rand(drawn, generator=generator, dtype=torch.float64)
        # Scaled by what they add up over, so that sums stay near 1 however deep the network is.
        values /= weight[0].numel() if weight.ndim > 1 else 1
        memo[id(weight)] = nn.Parameter(values.expand(shape), requires_grad=False)
    return deepcopy(module, memo).double().eval()


class Smooth(TorchFunctionMode):
    """While it is on, functions of torch that cut gradients off are replaced by ones that do not.

    Convolutions and linear layers read the mean of their channels: every one of them depends on the
    same pixels, and that is all that is asked.
    """

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


def _add_mean(x: Tensor, dim: int | list[int], *_: Any, **__: Any) -> Tensor:
    return x + x.mean(dim, keepdim=True)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _refuse(x.shape[-1], weight.shape[-1])
    return x.mean(-1, keepdim=True) * _scales(x, len(weight))


def _convolution(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    slide = partial(F.conv2d, stride=stride, padding=padding, dilation=dilation)
    _refuse(x.shape[-3], groups * weight.shape[1])
    return _of_means(x, weight, groups, len(weight), slide)


def _transposed_convolution(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    slide = partial(
        F.conv_transpose2d,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    _refuse(x.shape[-3], len(weight))
    return _of_means(x, weight, groups, groups * weight.shape[1], slide)


def _refuse(channels: int, wanted: int) -> None:
    """Raise where the real function would: a mean has no wrong number of channels."""
    if channels != wanted:
        raise RuntimeError(f"a layer for {wanted} channels is given {channels}")


def _of_means(
    x: Tensor, weight: Tensor, groups: int, channels: int, slide: Callable[..., Tensor]
) -> Tensor:
    """Slide one kernel over the mean of every group of channels."""
    batched = x if x.ndim == 4 else x[None]
    means = batched.unflatten(1, (groups, -1)).mean(2)
    kernel = x.new_full((1, 1, *weight.shape[2:]), 1 / weight.shape[2:].numel())
    made = slide(means.flatten(0, 1)[:, None], kernel).unflatten(0, (-1, groups))
    made = made * _scales(x, channels // groups)[:, None, None]
    return made.flatten(1, 2).view(*x.shape[:-3], channels, *made.shape[-2:])


def _scales(x: Tensor, channels: int) -> Float[Tensor, " channels"]:
    """Return a positive factor for every channel, so that no two channels are equal."""
    return torch.linspace(0.5, 1.5, channels, dtype=x.dtype)


def _mean_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Average over the windows of a max pooling."""
    stride = stride or kernel_size
    kernel, steps, pads = (
        (value, value) if isinstance(value, int) else value
        for value in (kernel_size, stride, padding)
    )
    height, width = F.max_pool2d(
        x.detach(), kernel_size, stride, padding, dilation, ceil_mode
    ).shape[-2:]
    # Windows over the far edge, which ceil_mode admits, read the same zeros as padding.
    padded = F.pad(x, (pads[1], pads[1] + steps[1], pads[0], pads[0] + steps[0]))
    weight = x.new_full((1, 1, *kernel), 1 / math.prod(kernel))
    pooled = F.conv2d(padded.flatten(0, -3)[:, None], weight, stride=steps, dilation=dilation)
    return pooled[:, 0, :height, :width].unflatten(0, x.shape[:-2])


_PASSED_THROUGH = (
    "relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ gelu silu mish "
    "hardswish hardsigmoid hardtanh hardtanh_ sigmoid sigmoid_ tanh tanh_ softplus softsign "
    "logsigmoid prelu rrelu threshold tanhshrink softshrink hardshrink batch_norm"
)
_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_PASSED_THROUGH.split(), lambda x, *_, **__: x),
    **dict.fromkeys(("softmax", "log_softmax"), _add_mean),
    "linear": _linear,
    "conv2d": _convolution,
    "conv_transpose2d": _transposed_convolution,
    "layer_norm": lambda x, shape, *_, **__: _add_mean(x, list(range(-len(shape), 0))),
    "group_norm": lambda x, *_, **__: _add_mean(x, list(range(1, x.ndim))),
    "instance_norm": lambda x, *_, **__: _add_mean(x, list(range(2, x.ndim))),
    "max_pool2d": _mean_pool,
    "adaptive_max_pool2d": lambda x, size, *_, **__: F.adaptive_avg_pool2d(x, size),
    # Out of place, so that what a layer returned stays as it was.
    "__iadd__": torch.add,
    "__isub__": torch.sub,
    "__imul__": torch.mul,
}
