"""What is freed is there for the next step: no page comes from the kernel a second time."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes, resource
from eyehand.training.memory import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        block = libc.malloc(64 << 20)
        ctypes.memset(block, 1, 64 << 20)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(1)
given_back = faults(3)
assert keep_freed_memory()
faults(1)
print(given_back, faults(3))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has this")
def test_freed_memory_is_used_again() -> None:
    found = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    given_back, kept = map(int, found.stdout.split())
    assert given_back > 100
    assert kept < given_back / 10
