"""A network to look into: a copy that may be run, hooked and switched while the network stays."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eyehand.functional.names import unknown_name
from eyehand.types import InputError


def tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested sequences, mappings and dataclasses.

    Example:
        >>> import torch
        >>> [x.item() for x in tensors({"a": torch.tensor(1), "b": (torch.tensor(2), "text")})]
        [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors([getattr(value, field.name) for field in fields(value)])


def floating(outputs: object) -> list[Tensor]:
    """Return the tensors of floating point among what a network returned.

    Raises:
        ValueError: If there are none.
    """
    found = [x for x in tensors(outputs) if x.is_floating_point()]
    if not found:
        raise ValueError("The network returned no tensor of floating point.")
    return found


def working_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a network, so that whatever is done with it leaves the network as it is.

    Hooks, modes, buffers, gradients and ``requires_grad`` are the copy's own. Only the values of
    the parameters are shared, of which no second set is made: do not step an optimizer on a copy.

    Raises:
        InputError: If the network holds something that cannot be copied.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor):  # torch refuses to copy one that was computed
                memo[id(value)] = value.detach().clone()
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False)
    try:
        with torch.no_grad():
            copy = deepcopy(module, memo)
    except Exception as error:  # whatever somebody's attributes raise
        raise InputError(
            f"{type(module).__name__} cannot be inspected, since it cannot be copied: {error}"
        ) from error
    for ours, theirs in zip(copy.parameters(), module.parameters(), strict=False):
        ours.requires_grad_(theirs.requires_grad)  # scripted modules do not copy it
    return copy


def submodule(module: nn.Module, layer: str) -> nn.Module:
    """Return a submodule by its name.

    Raises:
        ValueError: If there is none, with the name that comes closest.
    """
    parts = dict(module.named_modules())
    if layer not in parts:
        told = unknown_name("layer", layer, filter(None, parts))
        raise ValueError(f"{type(module).__name__} has {told}")
    return parts[layer]


class Probe:
    """Runs a copy of a network, in evaluation mode, to return what one of its layers returned.

    Args:
        module: The network.
        layer: Name as in ``named_modules``; the network itself is the empty name.

    Raises:
        ValueError: If there is no such layer.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        self._network = working_copy(module).eval().requires_grad_(False)
        self._layer = layer
        self._found: list[Tensor] = []
        submodule(self._network, layer).register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: Any, outputs: Any) -> None:
        self._found.extend(x.clone() for x in tensors(outputs))  # it may be overwritten in place

    def __call__(self, *inputs: Any) -> Tensor:
        """Return the first tensor of the layer's first call.

        Raises:
            ValueError: If the layer is not called, or returns no tensor.
        """
        self._found.clear()
        self._network(*inputs)
        if not self._found:
            raise ValueError(
                f"Layer {self._layer!r} of {type(self._network).__name__} was not called on this "
                "input."
            )
        return self._found[0]
