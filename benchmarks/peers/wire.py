"""Arrays over a pipe: how eyehand talks to a policy that lives in another Python.

A message is four bytes with the length of a header, the header (JSON: kind and shape of every
array), then the numbers of the arrays as they lie in memory. Nothing is unpickled. Both sides
import this file, so it needs numpy alone.
"""

import json
import math
import struct
from typing import BinaryIO

import numpy as np

KINDS = ("uint8", "int64", "float32")
"""Numbers that a message may hold."""
LARGEST = 1 << 28
"""Numbers in one array."""


def send(stream: BinaryIO, *arrays: np.ndarray) -> None:
    """Write one message.

    Raises:
        ValueError: If an array holds another kind of numbers.
    """
    for array in arrays:
        _check(array.dtype.name, array.shape)
    header = json.dumps([[array.dtype.name, array.shape] for array in arrays]).encode()
    stream.write(struct.pack("<I", len(header)) + header)
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> list[np.ndarray]:
    """Read one message.

    Raises:
        EOFError: If the other side has ended, between two messages or within one.
        ValueError: If it is no message.
    """
    (length,) = struct.unpack("<I", _exactly(stream, 4))
    arrays = []
    for kind, shape in json.loads(_exactly(stream, length)):
        _check(kind, tuple(shape))
        content = _exactly(stream, math.prod(shape) * np.dtype(kind).itemsize)
        arrays.append(np.frombuffer(content, kind).reshape(shape))
    return arrays


def _check(kind: str, shape: tuple[int, ...]) -> None:
    if kind not in KINDS:
        raise ValueError(f"a message holds {', '.join(KINDS)}. Got {kind!r}.")
    if min(shape, default=0) < 0 or math.prod(shape) > LARGEST:
        raise ValueError(f"an array of a message has at most {LARGEST} numbers. Got shape {shape}.")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError(f"the pipe ended after {len(content)} of {size} bytes")
    return content
