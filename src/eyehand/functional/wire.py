"""Messages between client and server: msgpack with arrays as openpi writes them, and size limits.

An array is a map of four, ``{b"__ndarray__": True, b"data": ..., b"dtype": ..., b"shape": ...}``
(openpi-client 0.1.2, ``msgpack_numpy.py``). Only plain numbers are decoded; nothing is ever
unpickled. Before anything is made of a message its outline is read: it may have so many entries in
all and so much depth, and what has more is refused after reading that many. So no message takes
more time or memory than its own length and a small constant.
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
MOST_ITEMS = 100_000
"""Most entries of a whole message: names, values, and the entries of lists and maps in it. Enough
for the description of a large suite; a server allows its clients far fewer."""
MOST_DEPTH = 16
"""Most containers around a value."""
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


def unpack(data: bytes, *, most_items: int = MOST_ITEMS) -> dict[str, Any]:
    """Return the message in ``data``. Arrays are read-only.

    Args:
        data: The bytes.
        most_items: Most entries of the whole message, those of inner lists and maps included.

    Raises:
        InputError: If it is not a message, or contains something that a message must not.
    """
    try:
        _check_outline(data, most_items)
        message = msgpack.unpackb(data, object_hook=_decode, max_ext_len=0)
    except REFUSALS as error:
        raise InputError(
            f"the message is not msgpack as openpi writes it: {error!r:.200}."
        ) from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise InputError(f"a message is a map with names as keys. Got {type(message).__name__}.")
    return message


_NUMBERS = dict(zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True))
"""First byte of a number to the bytes that follow."""
_TEXTS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""First byte of bytes or a text to the width of the length that follows."""
_LISTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""First byte of a list or map to the width of its length, and the values of one entry."""


def _check_outline(data: bytes, most_items: int) -> None:
    """Read where every value begins and ends, and nothing else.

    What is cut off or of a kind that messages do not have is left to the decoder, which refuses it
    at that place.

    Raises:
        ValueError: If there are too many values, or they are nested too deeply.
    """
    at, items, end = 0, 0, len(data)
    missing = [1]  # values that are still to come, in each open container
    while missing:
        if missing[-1] == 0:
            missing.pop()
            continue
        if at >= end:
            return
        missing[-1] -= 1
        at, inside = _end_of_value(data, at)
        items += inside
        if items > most_items:
            raise ValueError(f"it has more than {most_items} entries")
        if inside:
            missing.append(inside)
            if len(missing) > MOST_DEPTH + 1:
                raise ValueError(f"it is more than {MOST_DEPTH} levels deep")


def _end_of_value(data: bytes, at: int) -> tuple[int, int]:
    """Return where the value at a place ends, and how many values belong into it thereafter."""
    kind = data[at]
    at += 1
    if kind < 0x80 or kind >= 0xE0:
        return at, 0
    if kind < 0xA0:
        return at, (kind & 15) * (2 if kind < 0x90 else 1)
    if kind < 0xC0:
        return at + (kind & 31), 0
    if kind in _TEXTS:
        width = _TEXTS[kind]
        return at + width + int.from_bytes(data[at : at + width], "big"), 0
    if kind in _LISTS:
        width, each = _LISTS[kind]
        return at + width, each * int.from_bytes(data[at : at + width], "big")
    return at + _NUMBERS.get(kind, 0), 0


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
            raise ValueError(
                f"an array of shape {shape!s:.80} and type {dtype} is not {len(data)} bytes"
            )
        return np.frombuffer(data, dtype=kind).reshape(shape)
    if b"__npgeneric__" in value:
        number = value.get(b"data")
        if not isinstance(number, bool | int | float):
            raise ValueError(f"the data of a number is one number, got {number!r:.40}")
        return _dtype(value.get(b"dtype")).type(number)
    return value


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or name[1:] not in DTYPES or name[0] not in "<>|=":
        raise ValueError(f"numbers are of the types {sorted(DTYPES)}, got {name!r:.40}")
    return np.dtype(name)
