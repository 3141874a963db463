"""Resident memory of a training process, page cache aside, against the 2 GB that it may take.

Runs a command, looks at it and at the processes that it starts ten times a second, and prints the
largest sum of resident memory less file-backed pages (memory-mapped frames are page cache, which
the kernel drops when others need the room):

    python benchmarks/training_memory.py eyehand train RECIPE --data DIR --out DIR --steps 100
"""

import subprocess
import sys
import time

import psutil

LIMIT = 2e9
"""Bytes that the whole training may hold."""


def held(process: psutil.Process) -> int:
    """Return the bytes that ``process`` and all it started hold, files in the page cache aside."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            memory = member.memory_info()
        except psutil.NoSuchProcess:
            continue  # ended between the list and the look
        total += memory.rss - memory.shared
    return total


def main(command: list[str]) -> int:
    """Run ``command`` to its end; return its exit code."""
    if not command:
        print(__doc__)
        return 2
    child = subprocess.Popen(command)
    peak, seconds = 0, time.perf_counter()
    while child.poll() is None:
        try:
            peak = max(peak, held(psutil.Process(child.pid)))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    seconds = time.perf_counter() - seconds
    print(
        f"peak {peak / 1e9:.2f} GB over {seconds:.0f} s: {peak / LIMIT:.2f} of {LIMIT / 1e9:.0f} GB"
    )
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
