"""Memory is asked for before it is taken: what does not fit is refused, not killed on the way."""

import os
import re
from pathlib import Path

import psutil

from eyehand.types import InputError

WORKER_BYTES = 200_000_000
"""What one simulator process takes at least."""
_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    ("", "memory.max", "memory.current"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where the two versions of control groups say how much a group may take, and how much it has."""
_CACHE = re.compile(r"^(?:active|inactive)_file (\d+)$", re.MULTILINE)
"""What a group has of files in memory: the kernel gives that back when memory is asked for."""


def available_memory() -> int:
    """Return how many bytes this process can still take, of the machine or of its control group."""
    return min(int(psutil.virtual_memory().available), *_left_in_groups())


def check_memory(needed: int | float, subject: str) -> None:
    """Raise an error if something needs more memory than there is.

    Args:
        needed: Bytes, rather too few than too many: what could fit is not refused.
        subject: What needs them, for the sentence, such as ``--batch-size 1000``.

    Raises:
        InputError: If there is less.

    Example:
        >>> check_memory(1e15, "--size 9999999")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        eyehand.types.errors.InputError: --size 9999999 needs 1,000,000.0 GB of memory, ...
    """
    available = available_memory()
    if needed > available:
        raise InputError(
            f"{subject} needs {needed / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are "
            "free: choose a smaller number."
        )


def check_workers(workers: int, *, elsewhere: bool = False) -> None:
    """Raise an `InputError` unless this machine can run as many simulator processes.

    Those of a cluster (``elsewhere``) need no memory here; they only must be 1 or more.
    """
    if workers < 1:
        raise InputError(f"--workers must be at least 1; got {workers}.")
    if not elsewhere:
        check_memory(workers * WORKER_BYTES, f"--workers {workers}")


def _left_in_groups() -> list[int]:
    """Return what this process's control groups have left, where they have a limit."""
    left = [1 << 62]
    for own in _own_groups():
        for folder, limit, usage in _LIMITS:
            group = _GROUPS / folder / own
            try:
                most, taken = (int((group / name).read_text()) for name in (limit, usage))
                files = sum(map(int, _CACHE.findall((group / "memory.stat").read_text())))
            except (OSError, ValueError):  # no such group, or the limit is "max"
                continue
            left.append(most - taken + files)
    return left


def _own_groups() -> set[str]:
    """Return the groups of this process; inside a container its own is the root."""
    try:
        lines = Path(f"/proc/{os.getpid()}/cgroup").read_text().splitlines()
    except OSError:
        return {"."}
    return {".", *(line.rpartition(":")[2].strip("/") or "." for line in lines)}
