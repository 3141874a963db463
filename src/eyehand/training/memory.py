"""Memory that a step frees is kept for the next step: the kernel does not get it back."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Settings of glibc's mallopt: how many freed bytes make the heap shrink, how many blocks may be
mapped from the kernel one by one."""


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; every other C library is left as it is.

    A training step frees hundreds of megabytes and asks for the same again. Given back in between,
    every page comes from the kernel anew, filled with zeros: a fifth of BC-Z's step on a CPU
    (benchmarks/training_step.py). The process never holds more than it does at its peak. The result
    says whether glibc heard it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(MMAP_MAX, 0))
