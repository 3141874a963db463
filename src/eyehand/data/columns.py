"""Named columns: what a data set keeps of every frame beside pictures, state and action.

A column's name is the name of its feature in the files. Two are named otherwise there, because
LeRobot's policies take every feature whose name begins with ``observation`` for an input and every
one that begins with ``action`` for an action: ``landmarks`` is ``privileged.landmarks``, with all
its numbers on one axis, and ``action_mask`` is ``mask.action``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from eyehand.types import InputError

LANDMARKS, ACTION_MASK = "landmarks", "action_mask"
"""Columns that `eyehand.types.Episode` and `eyehand.types.Batch` have fields for."""
DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip
"""Numbers that numpy, parquet and torch all know, by numpy's names."""
STATE, ACTION = "observation.state", "action"
"""LeRobot's names of state and action."""
COUNTERS = {
    "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
    "task_index": "int64",
}  # fmt: skip
"""Types of the numbers that LeRobot's format asks for beside every frame."""
_FEATURES = {
    "state": STATE, LANDMARKS: "privileged.landmarks", ACTION_MASK: "mask.action",
}  # fmt: skip
_COLUMNS = {feature: name for name, feature in _FEATURES.items()}
_TAKEN = {"image", "state", "action", *COUNTERS}


@dataclass(frozen=True)
class Column:
    """What a named column holds of one frame.

    Raises:
        InputError: If there is no such type of numbers, or the names are not as many as them.

    Example:
        >>> Column(), Column(dtype="float32", shape=(3,), names=("x", "y", "z")).size
        (Column(dtype='float32', shape=(), names=None), 3)
    """

    dtype: str = "float32"
    """Type of its numbers, one of ``DTYPES``."""
    shape: tuple[int, ...] = ()
    """Sizes of its axes; none for a single number."""
    names: Sequence[str] | None = None
    """A name for every number, the last axis fastest."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"a column holds one of {', '.join(DTYPES)}. Got {self.dtype!r}.")
        if self.shape == (1,) or any(size < 1 for size in self.shape):
            raise InputError(
                f"a column has axes of at least one number, and the shape () for a single number. "
                f"Got {self.shape}."
            )
        if self.names is not None and len(self.names) != self.size:
            raise InputError(
                f"a column of shape {self.shape} needs {self.size} names. Got {list(self.names)}."
            )

    @property
    def size(self) -> int:
        """How many numbers it holds of a frame."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        """Return type and shape, for sentences to users."""
        return f"{self.dtype} {list(self.shape)}"


def landmark_columns(points: Sequence[str]) -> dict[str, Column]:
    """Return the column of the landmarks with these names, by its name; without names, none.

    Example:
        >>> landmark_columns(["hand"])["landmarks"].names
        ('hand x', 'hand y', 'hand far')
    """
    names = tuple(f"{point} {part}" for point in points for part in ("x", "y", "far"))
    return {LANDMARKS: Column("float32", (len(points), 3), names)} if points else {}


def column_of(values: Shaped[np.ndarray, "time ..."]) -> Column:
    """Return the column that these numbers are of.

    Example:
        >>> str(column_of(np.zeros((5, 2, 3))))
        'float64 [2, 3]'
    """
    return Column(values.dtype.name, values.shape[1:])


def check_names(columns: Mapping[str, Column]) -> None:
    """Refuse names that mean something else in a data set, and wrong types of what is known.

    Raises:
        InputError: If there is such a name.
    """
    for name, column in columns.items():
        if not re.fullmatch(r"\w[\w.-]*", name) or not _is_free(name):
            raise InputError(
                f"a column cannot be named {name!r}: names are letters, digits, '_', '-' and '.', "
                f"and neither {', '.join(sorted(_TAKEN))} nor image.*"
            )
        if name == ACTION_MASK and (column.dtype, column.shape) != ("bool", ()):
            raise InputError(f"the column {name!r} is one bool a frame. Got {column}.")


def feature_name(column: str) -> str:
    """Return the name of the feature in the files, of a column or of state or action.

    Example:
        >>> feature_name("landmarks"), feature_name("reward")
        ('privileged.landmarks', 'reward')
    """
    return _FEATURES.get(column, column)


def as_stored(name: str, values: Shaped[np.ndarray, "time ..."]) -> Shaped[np.ndarray, "time ..."]:
    """Return a column's numbers with the axes that they have in the files."""
    return values.reshape(len(values), -1) if name == LANDMARKS else values


def to_feature(name: str, column: Column) -> dict[str, Any]:
    """Return what ``meta/info.json`` says about a column.

    Example:
        >>> to_feature("reward", Column())
        {'dtype': 'float32', 'shape': [1], 'names': None}
    """
    shape = [column.size] if name == LANDMARKS else list(column.shape) or [1]
    names = None if column.names is None else list(column.names)
    return {"dtype": column.dtype, "shape": shape, "names": names}


def columns_from_features(folder: Path, features: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns among the features of ``meta/info.json``, by name.

    Features that are no numbers, and those named like something else of ours, are passed over.

    Raises:
        InputError: If a shape is none, or landmarks are no points.
    """
    columns = {}
    for feature, found in features.items():
        name = _COLUMNS.get(feature, feature)
        is_ours = feature in _COLUMNS
        if found["dtype"] not in DTYPES or not _is_free(name) or (name in _FEATURES) != is_ours:
            continue
        shape = tuple(found["shape"])
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise InputError(f"feature {feature!r} of {folder} has no shape: {found['shape']}.")
        if name == LANDMARKS:
            if len(shape) != 1 or shape[0] % 3:
                raise InputError(
                    f"feature {feature!r} of {folder} has {' x '.join(map(str, shape))} numbers; "
                    "three a point are expected."
                )
            shape = (shape[0] // 3, 3)
        shape = () if shape == (1,) else shape
        names = found.get("names")
        is_named = isinstance(names, list) and len(names) == math.prod(shape)
        columns[name] = Column(found["dtype"], shape, tuple(names) if is_named else None)
    return columns


def _is_free(name: str) -> bool:
    return name not in _TAKEN and not name.startswith(("image.", "observation.image"))
