"""Look without touching: a block after which a network is as it was before, also after an error."""

import random
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Restore a network, and the random numbers, when the block ends or fails.

    Restored are every attribute of every submodule (so hooks, training mode, caches that were
    replaced), the content of lists, sets and dictionaries among them, the values of buffers (so
    running statistics) and other tensors, ``requires_grad`` and gradients of parameters, and the
    random states of torch, NumPy and Python. Inside, every gradient begins as ``None``. Not
    restored are what lies deeper, such as a list in a list, and the values of parameters, of which
    no copy is made: do not step an optimizer inside.

    Args:
        module: The network that will be run.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  # theirs
    parts = [(part, dict(vars(part)), _containers(part)) for part in module.modules()]
    kept = [*module.buffers(), *(x for part, _, _ in parts for x in _plain_tensors(part))]
    values = [(x, x.detach().clone()) for x in kept if not x.is_meta]
    parameters = [(weight, weight.requires_grad, weight.grad) for weight in module.parameters()]
    try:
        for weight, _, _ in parameters:
            weight.grad = None
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for part, attributes, containers in parts:
            vars(part).clear()
            vars(part).update(attributes)
            for container, content in containers:
                container.clear()
                if isinstance(container, dict | set):
                    container.update(content)
                else:
                    container.extend(content)
        for weight, requires_grad, gradient in parameters:
            weight.requires_grad_(requires_grad)
            weight.grad = gradient
        with torch.no_grad():
            for x, value in values:
                # A write, even of the same values, would spoil a graph that somebody still holds.
                if x.layout is not torch.strided or not torch.equal(x, value):
                    x.copy_(value)


def _containers(part: nn.Module) -> list[tuple[Any, Any]]:
    """Return the mutable containers among the attributes, each with a copy of its content."""
    kinds = (dict, OrderedDict, list, set, deque)  # no subclass: copying one may do anything
    return [(value, value.copy()) for value in vars(part).values() if type(value) in kinds]


def _plain_tensors(part: nn.Module) -> list[Tensor]:
    """Return the tensors among the attributes that are neither parameters nor buffers."""
    return [value for value in vars(part).values() if isinstance(value, Tensor)]
