"""Files that notice damage: JSON and tensors that carry a checksum of their own content.

A checksum in the file itself is replaced together with what it describes, so a kill never leaves
one that belongs to another version of the file. It is CRC-32: it finds every change of up to four
neighbouring bytes and all but one in four thousand million others. It protects from a bad disk or a
broken copy, not from somebody who changes a file on purpose. A file without a checksum, from
another program or from an earlier version, is read, and a line on standard error says that damage
to it cannot be noticed.
"""

import json
import logging
import re
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eyehand.files import flush, replace_text
from eyehand.types import InputError

CHECKSUM = "checksum"
"""The entry of a JSON object, and of the metadata of a file of tensors, that holds the checksum."""
_PREFIX = "crc32:"
_WRITTEN = re.compile(_PREFIX + "[0-9a-f]{8}")
_LOGGER = logging.getLogger(__name__)


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file's bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = Path(file.name).write_bytes(b"123456789")
        ...     hex(file_checksum(Path(file.name)))  # the check value of CRC-32
        '0xcbf43926'
    """
    checksum = 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 24):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file by a JSON object with the entries of ``value`` and their checksum.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state.json"
        >>> write_json(path, {"step": 7})
        >>> path.read_text().split()
        ['{', '"step":', '7,', '"checksum":', '"crc32:6cdd36bb"', '}']
        >>> read_json(path)
        {'step': 7}
    """
    replace_text(path, json.dumps({**value, CHECKSUM: _checksum(value)}, indent=2) + "\n")


def read_json(path: Path, *, expected: bool = False) -> dict[str, Any]:
    """Return the JSON object in a file, without its checksum.

    Args:
        path: The file.
        expected: The caller knows that a checksum was written: without one the file is damaged.

    Raises:
        InputError: If the file is missing, cannot be read, is no JSON object, or is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        noted = value.pop(CHECKSUM, None) if isinstance(value, dict) else None
        found = _checksum(value)
    except FileNotFoundError:
        raise InputError(f"{path} is missing.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is truncated or altered ({error!s:.200}): restore it.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold names and values in braces. It holds {value!r:.40}.")
    # A damaged name of the entry leaves the checksum itself in the text.
    if noted is None and not expected and not _WRITTEN.search(text):
        _say_unprotected(path)
    elif noted != found:
        raise InputError(
            f"{path} is not as it was written (its checksum differs): restore it. If you changed "
            f"it on purpose, remove its entry {CHECKSUM!r}."
        )
    return value


def checked_line(value: Mapping[str, Any]) -> str:
    r"""Return one line of text, a JSON object with the entries of ``value`` and their checksum.

    Example:
        >>> checked_line({"step": 7})
        '{"step": 7, "checksum": "crc32:6cdd36bb"}\n'
        >>> read_line(checked_line({"step": 7}))
        ({'step': 7}, True)
    """
    return json.dumps({**value, CHECKSUM: _checksum(value)}) + "\n"


def read_line(line: str | bytes) -> tuple[dict[str, Any], bool]:
    """Return the JSON object in a line, without its checksum, and whether it had one.

    Raises:
        ValueError: If it is no JSON object, or damaged.
    """
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object.")
        noted = value.pop(CHECKSUM, None)
        if noted is not None and noted != _checksum(value):
            raise ValueError("its checksum differs.")
    except RecursionError as error:
        raise ValueError(f"it has too many brackets ({error}).") from None
    return value, noted is not None


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file with a checksum in its metadata, and wait until the disk holds it.

    Equal tensors give equal bytes: safetensors writes several entries of metadata in a random
    order, so the checksum is the only one.

    Args:
        path: The file; see `eyehand.files.replacing` for how one is replaced.
        tensors: Of any shape and type.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # Not `save_file`: it writes to a file with a random name first, which a kill leaves behind.
    path.write_bytes(save(contiguous, metadata={CHECKSUM: _tensor_checksum(contiguous)}))
    flush(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        InputError: If the file is missing, cannot be read, or is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            # Mapped from the file, not copied; one opening, as the file may be replaced meanwhile.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path} is missing.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or altered: {error!s:.200}.") from None
    noted = metadata.get(CHECKSUM)
    if noted is None and not any(map(_WRITTEN.fullmatch, metadata.values())):
        _say_unprotected(path)
    elif noted != _tensor_checksum(tensors):
        raise InputError(f"{path} is truncated or altered (its checksum differs): restore it.")
    return tensors


def _checksum(value: Any) -> str:
    """Return the checksum of JSON values, however they are written down."""
    plain = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return f"{_PREFIX}{zlib.crc32(plain.encode()):08x}"


def _tensor_checksum(tensors: Mapping[str, Tensor]) -> str:
    described = [[name, str(t.dtype), list(t.shape)] for name, t in sorted(tensors.items())]
    checksum = zlib.crc32(json.dumps(described).encode())
    for _, tensor in sorted(tensors.items()):
        content = tensor.cpu().reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(content.data, checksum)
    return f"{_PREFIX}{checksum:08x}"


@cache  # a run reads its files several times
def _say_unprotected(path: Path) -> None:
    _LOGGER.warning("%s has no checksum: damage to it would not be noticed.", path)
