"""Elementwise operators that are slower in bf16 than in fp32 on this machine, by measuring each.

Kernels differ by operator, version and processor, so there is no list: every activation, FiLM or
other elementwise operator that a step runs in bf16 is timed on its own tensors in both types.
"""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch

from eyehand.inspection.findings import Place
from eyehand.inspection.nested import map_tensors, tensors
from eyehand.inspection.operators import Call

SMALLEST = 16_384
"""Elements from which on an operator is timed; below, calling it costs as much as running it."""
SLOWER = 1.2
"""How many times the time in fp32 it takes to be told: less is noise."""
RUNS = 7
"""The fastest of so many runs counts."""


class SlowActivations:
    """Called after every operator of `operators.traced`, times the elementwise ones.

    Forward and backward are looked at one by one, since a fast activation may have a slow gradient.
    """

    def __init__(self) -> None:
        self.losses: list[tuple[float, Place]] = []
        """Seconds lost by an operator on one shape in one layer, and what is to be told."""
        self._seen: set[object] = set()

    def __call__(self, call: Call) -> None:
        """Time the operator that just ran, if it is elementwise, in bf16 and large."""
        operator, func, args, kwargs, _ = call
        read = [x for x in tensors((args, kwargs)) if x.is_floating_point()]
        size = max((x.numel() for x in read), default=0)
        if (
            operator.kind not in ("elementwise", "broadcasting")
            or size < SMALLEST
            or any(x.dtype != torch.bfloat16 for x in read)
        ):
            return
        shapes = tuple(tuple(x.shape) for x in read)
        key = (operator.layer, operator.name, operator.backward, shapes)
        if key in self._seen:
            return
        self._seen.add(key)
        single = map_tensors(lambda x: x.float() if x.is_floating_point() else x, args)
        # In turns, so that other work on the machine slows both.
        runs = [(seconds(func, args, kwargs), seconds(func, single, kwargs)) for _ in range(RUNS)]
        in_bf16, in_fp32 = (min(times) for times in zip(*runs, strict=True))
        if in_bf16 > SLOWER * in_fp32:
            pass_ = "backward" if operator.backward else "forward"
            shape = "x".join(str(length) for length in max(shapes, key=len))
            text = (
                f"`{operator.name}` on {shape} ({pass_} pass) takes {1000 * in_bf16:.2f} ms in "
                f"bf16 and {1000 * in_fp32:.2f} ms in fp32"
            )
            self.losses.append((in_bf16 - in_fp32, Place(operator.layer, text)))


def seconds(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """Return how long one run takes; the arguments are not written to."""
    copied = map_tensors(torch.clone, args)  # the operator may work in place
    start = perf_counter()
    func(*copied, **kwargs)
    return perf_counter() - start
