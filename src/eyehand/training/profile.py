"""What this machine can do, what this process uses of it, and what other programs use."""

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Literal

import psutil
import torch

Precision = Literal["bf16", "fp32"]
SIZE = 2048
"""Side of the measured matrices: large enough to run at the peak, 17 GFLOP a product."""
COPIED_BYTES = 128_000_000
"""Size of the copied array: larger than the caches, so that memory itself is measured."""


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several runs, of one if the first takes half a second.

    The first run also pays for start-up.
    """
    best = float("inf")
    began = perf_counter()
    while best == float("inf") or perf_counter() - began < 0.5:
        start = perf_counter()
        run()
        best = min(best, perf_counter() - start)
    return best


@cache
def matrix_multiply_peak(precision: Precision, *, device: str = "cpu") -> float:
    """Measure the peak rate of a matrix product on a device, the ceiling of any training step.

    Best of several products, in under two seconds on two cores; measured once per process.

    Returns:
        Floating-point operations per second, a multiplication and an addition counted as two.

    Example:
        >>> matrix_multiply_peak("fp32") > 1e8
        True
    """
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    generator = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, SIZE, SIZE, generator=generator, device=device).to(dtype)
    return 2 * SIZE**3 / fastest(lambda: (a @ b)[0, 0].item())  # waits for an accelerator


@cache
def memory_bandwidth() -> float:
    """Measure how fast memory is read and written, by the best of several copies.

    Measured once per process, in about half a second.

    Returns:
        Bytes per second, read and written counted together.
    """
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / fastest(lambda: target.copy_(source))


def resident_memory() -> int:
    """Return the bytes of memory that are this process's own, files in the page cache aside.

    Memory-mapped frames are the page cache's: the kernel drops them when others need room.

    Example:
        >>> resident_memory() > 1_000_000
        True
    """
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


CROWDED = 0.25
"""Share of the machine that other programs may use before it is worth a word."""


class OtherPrograms:
    """How much of this machine's processors other programs use, between two readings.

    Example:
        >>> 0 <= OtherPrograms().share() <= 1
        True
    """

    def __init__(self) -> None:
        self._before = self._read()

    def share(self) -> float:
        """Return their share of all cores since the reading before, in [0, 1]."""
        before, self._before = self._before, self._read()
        wall, busy, own = (now - then for now, then in zip(self._before, before, strict=True))
        room = wall * (psutil.cpu_count() or 1)
        return min(1.0, max(0.0, (busy - own) / room)) if room > 0 else 0.0

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds of the wall, of all programs, of this process; not of other machines (steal)."""
        every, own = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = every.user + every.system + getattr(every, "nice", 0.0)
        return perf_counter(), busy, own.user + own.system


def thread_advice(share: float, *, threads: int, cores: int) -> str:
    """Say in a sentence what to do where others take cores that this process has threads for.

    The sentence is empty where there is nothing to do.

    Threads of one operator wait for the slowest: one that has to share its core holds up all.

    ``share`` is that of the machine, in [0, 1], which other programs use; ``threads`` are those of
    this process.

    Example:
        >>> thread_advice(0.48, threads=2, cores=2)
        'other programs use 48 % of this machine: --threads 1 would be faster'
        >>> thread_advice(0.48, threads=1, cores=2)
        ''
    """
    free = max(1, int(cores * (1 - share)))
    if share <= CROWDED or threads <= free:
        return ""
    return (
        f"other programs use {share * 100:.0f} % of this machine: --threads {free} would be faster"
    )
