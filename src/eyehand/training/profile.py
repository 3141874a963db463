"""What this machine can do and what the process uses: matrix-multiply peak and resident memory."""

from functools import cache
from time import perf_counter
from typing import Literal

import psutil
import torch

Precision = Literal["bf16", "fp32"]
SIZE = 2048
"""Side of the measured matrices: large enough to run at the peak, 17 GFLOP a product."""


@cache
def matrix_multiply_peak(precision: Precision, *, device: str = "cpu") -> float:
    """Measure the peak rate of a matrix product, the ceiling of any training step.

    Best of several products, in under two seconds on two cores; measured once per process.

    Args:
        precision: Type of the factors.
        device: Where, as torch names it.

    Returns:
        Floating-point operations per second, a multiplication and an addition counted as two.

    Example:
        >>> matrix_multiply_peak("fp32") > 1e8
        True
    """
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    generator = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, SIZE, SIZE, generator=generator, device=device).to(dtype)
    best = float("inf")
    began = perf_counter()
    # The first product also pays for start-up; a slow machine stops after a second.
    while best == float("inf") or (perf_counter() - began < 0.5):
        start = perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for an accelerator
        best = min(best, perf_counter() - start)
    return 2 * SIZE**3 / best


def resident_memory() -> int:
    """Return the bytes of memory that are this process's own, files in the page cache aside.

    Memory-mapped frames are the page cache's: the kernel drops them when others need room.

    Example:
        >>> resident_memory() > 1_000_000
        True
    """
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))
