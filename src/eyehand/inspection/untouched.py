"""Look without touching: a block after which a network is as it was before, also after an error."""

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Restore a network, and the random numbers, when the block ends or fails.

    Restored are every attribute of every submodule (so hooks, training mode, caches that were
    replaced), the values of buffers (so running statistics), ``requires_grad`` and gradients of
    parameters, and the random states of torch, NumPy and Python. Inside, every gradient begins as
    ``None``. Not restored are the values of parameters, of which no copy is made: do not step an
    optimizer inside.

    Args:
        module: The network that will be run.

    Example:
        >>> layer = nn.BatchNorm1d(2)
        >>> with untouched(layer):
        ...     _ = layer.eval().requires_grad_(False)(torch.ones(3, 2))
        >>> layer.training, layer.weight.requires_grad
        (True, True)
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  # theirs
    parts = [(part, dict(vars(part)), _containers(part)) for part in module.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    parameters = [(weight, weight.requires_grad, weight.grad) for weight in module.parameters()]
    try:
        for weight, _, _ in parameters:
            weight.grad = None
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        for part, attributes, containers in parts:
            vars(part).clear()
            vars(part).update(attributes)
            for container, content in containers:
                container.clear()
                if isinstance(container, dict):
                    container.update(content)
                else:
                    container.extend(content)
        for weight, requires_grad, gradient in parameters:
            weight.requires_grad_(requires_grad)
            weight.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                # A write, even of the same values, would spoil a graph that somebody still holds.
                if not buffer.is_meta and not torch.equal(buffer, value):
                    buffer.copy_(value)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _containers(part: nn.Module) -> list[tuple[Any, Any]]:
    """Return the mutable containers among the attributes, each with a copy of its content."""
    kinds = (dict, OrderedDict, list)  # no subclass: copying one may do anything
    return [(value, value.copy()) for value in vars(part).values() if type(value) in kinds]
