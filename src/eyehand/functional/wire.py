"""Messages between client and server: msgpack with arrays as openpi writes them, and size limits.

An array is a map of four, ``{b"__ndarray__": True, b"data": ..., b"dtype": ..., b"shape": ...}``
(openpi-client 0.1.2, ``msgpack_numpy.py``). Only plain numbers are decoded; nothing is ever
unpickled, and no message can ask for more memory than its own length.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from eyehand.types import InputError

DTYPES = frozenset(["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
"""Types of numbers that are decoded, in any byte order."""
MOST_AXES = 5
MOST_ITEMS = 10_000
"""Most entries of one map or list."""
REFUSALS = (
    msgpack.exceptions.UnpackException,
    msgpack.exceptions.ExtraData,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""The errors of decoding bytes that are not a message."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes; arrays and numpy numbers are written as openpi does.

    Example:
        >>> unpack(pack({"actions": np.zeros((2, 3), np.float32)}))["actions"].shape
        (2, 3)
    """
    packed: bytes = msgpack.packb(message, default=_encode)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """Return the message in ``data``. Arrays are read-only.

    Raises:
        InputError: If it is not a message, or contains something that a message must not.
    """
    try:
        message = msgpack.unpackb(
            data,
            object_hook=_decode,
            max_array_len=MOST_ITEMS,
            max_map_len=MOST_ITEMS,
            max_ext_len=0,
        )
    except REFUSALS as error:
        raise InputError(
            f"the message is not msgpack as openpi writes it: {error!r:.200}."
        ) from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise InputError(f"a message is a map with names as keys. Got {type(message).__name__}.")
    return message


def _encode(value: Any) -> dict[bytes, Any]:
    if isinstance(value, np.ndarray) and value.dtype.str[1:] in DTYPES:
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic) and value.dtype.str[1:] in DTYPES:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"cannot be sent: {type(value).__name__}")


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        dtype, shape, data = (value.get(key) for key in (b"dtype", b"shape", b"data"))
        kind = _dtype(dtype)
        if not isinstance(data, bytes):
            raise ValueError("the data of an array are bytes")
        if not (
            isinstance(shape, list)
            and len(shape) <= MOST_AXES
            and all(isinstance(size, int) and size >= 0 for size in shape)
        ):
            raise ValueError(f"a shape is up to {MOST_AXES} numbers, got {shape!r:.80}")
        if math.prod(shape) * kind.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} and type {dtype} is not {len(data)} bytes")
        return np.frombuffer(data, dtype=kind).reshape(shape)
    if b"__npgeneric__" in value:
        return _dtype(value.get(b"dtype")).type(value.get(b"data"))
    return value


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or name[1:] not in DTYPES or name[0] not in "<>|=":
        raise ValueError(f"numbers are of the types {sorted(DTYPES)}, got {name!r:.40}")
    return np.dtype(name)
