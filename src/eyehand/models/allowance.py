"""A limit on the memory that a block may ask torch for, checked before any of it is taken.

A config says how large a network is, and a wrong one can ask for more than the machine has: the
kernel then ends the process without a word, or the machine swaps for minutes. Inside an `Allowance`
every new tensor is first made on the device ``meta``, which has shapes and no memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from eyehand.types import InputError

SMALLEST = 16_384
"""Bytes that a tensor counts as at least: a module of Python around it costs about as much, and a
network of a hundred million empty layers is refused as well."""


class Allowance(TorchDispatchMode):
    """Refuse to make new tensors beyond a number of bytes, on any device, as a context.

    What is copied or computed from other tensors does not count, nor weights that are mapped from a
    file, as transformers has them. It holds for this thread.

    Args:
        limit: Bytes in all.
        what: What asks for them, as the subject of the sentence.

    Raises:
        InputError: From the call that would make the tensor.

    Example:
        >>> with Allowance(1_000_000, "the network in config.json"):
        ...     layer = torch.nn.Linear(100, 100)
        ...     huge = torch.nn.Linear(1_000_000_000, 1_000_000_000)
        Traceback (most recent call last):
        ...
        eyehand.types.errors.InputError: the network in config.json would need more than 1 MB.
    """

    def __init__(self, limit: int, what: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self.limit = limit
        self.what = what
        self.used = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count what the function makes from nothing, then call it."""
        options = options or {}
        makes = any(one.name == "device" for one in function._schema.arguments)
        if makes and not any(isinstance(one, Tensor) for one in arguments):
            planned = function(*arguments, **{**options, "device": "meta"})
            if torch.device(options.get("device") or "cpu").type != "meta":
                self.used += max(SMALLEST, planned.nbytes)
            if self.used > self.limit:
                raise InputError(f"{self.what} would need more than {self.limit / 1e6:,.0f} MB.")
        return function(*arguments, **options)


@contextmanager
def unlimited() -> Iterator[None]:
    """Let a block make tensors that no `Allowance` around it counts.

    For what loads published weights: their size is known, and no config decides it.

    Example:
        >>> with Allowance(1_000_000, "the network"), unlimited():
        ...     layer = torch.nn.Linear(1000, 1000)
    """
    with _disable_current_modes():
        yield
