"""Statistics of states and actions, which policies normalise by; kept in LeRobot's own file."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from eyehand.checksums import file_checksum
from eyehand.data.columns import as_stored, feature_name
from eyehand.data.layout import FILE_CHECKSUMS, STATISTICS_PATH
from eyehand.data.lerobot import Dataset
from eyehand.data.parquet import read_table
from eyehand.data.paths import inside
from eyehand.types import InputError, Statistics

_LOGGER = logging.getLogger(__name__)
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
"""The quantiles of LeRobot's file, by its names."""
_PICTURES = 32
_FIELDS = {
    "mean": "mean",
    "std": "std",
    "minimum": "min",
    "maximum": "max",
    "quantile_01": "q01",
    "quantile_99": "q99",
}
"""Fields of `Statistics` and their names in LeRobot's file."""


def describe(values: Shaped[np.ndarray, " frame *feature"]) -> dict[str, Any]:
    """Return LeRobot's statistics of one feature: min, max, mean, std, count and five quantiles.

    The standard deviation divides by the number of frames; quantiles lie between the two nearest
    values, in proportion (numpy's default).

    Args:
        values: One entry a frame; those of a single number become lists of one.

    Example:
        >>> describe(np.array([[0.0], [1.0], [2.0]]))["mean"]
        [1.0]
    """
    values = values.astype(np.float64).reshape(len(values), *(values.shape[1:] or (1,)))
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    names = ("min", "max", "mean", "std")
    return {
        **{name: getattr(values, name)(axis=0).tolist() for name in names},
        "count": [len(values)],
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
    }


def describe_pictures(film: UInt8[np.ndarray, "time height width 3"]) -> dict[str, Any]:
    """Return LeRobot's statistics of pictures: a channel each, in [0, 1], with two empty axes.

    Of at most 32 frames evenly spread: neighbouring frames are nearly the same.

    Example:
        >>> describe_pictures(np.full((2, 4, 4, 3), 255, np.uint8))["mean"]
        [[[1.0]], [[1.0]], [[1.0]]]
    """
    some = film[:: -(-len(film) // _PICTURES)]
    level = np.arange(256) / 255
    found = []
    for channel in range(3):
        weight = np.bincount(some[..., channel].reshape(-1), minlength=256) / some[..., 0].size
        seen = level[weight > 0]
        mean = (weight * level).sum()
        found.append((seen[0], seen[-1], mean, np.sqrt((weight * (level - mean) ** 2).sum())))
    columns = zip(("min", "max", "mean", "std"), np.transpose(found), strict=True)
    return {name: v.reshape(3, 1, 1).tolist() for name, v in columns} | {"count": [len(film)]}


def combine_descriptions(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the min, max, mean, std and count of all frames from those of the episodes.

    Args:
        parts: What `describe_pictures` returned for each episode.

    Example:
        >>> part = describe_pictures(np.zeros((2, 4, 4, 3), np.uint8))
        >>> combine_descriptions([part, part])["count"]
        [4]
    """
    values = {key: np.array([part[key] for part in parts]) for key in parts[0]}
    weight = values["count"].reshape(-1, 1, 1, 1) / values["count"].sum()
    mean = (weight * values["mean"]).sum(axis=0)
    variance = (weight * (values["std"] ** 2 + (values["mean"] - mean) ** 2)).sum(axis=0)
    return {
        "min": values["min"].min(axis=0).tolist(),
        "max": values["max"].max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(values["count"].sum())],
    }


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return LeRobot's statistics of every feature of a data set that we wrote, by its name."""
    frames = dataset.frames
    length = np.array([row.length for row in dataset.episodes])
    index = np.arange(len(dataset))
    vectors = {"state": dataset.state_dim, "action": dataset.action_dim}
    numbers = {name: getattr(frames, name) for name, dim in vectors.items() if dim}
    numbers |= dict(frames.columns)
    features = {feature_name(name): as_stored(name, v) for name, v in numbers.items()} | {
        "timestamp": frames.timestamp,
        "frame_index": index - np.repeat(length.cumsum() - length, length),
        "episode_index": np.repeat(np.arange(len(length)), length),
        "index": index,
        "task_index": frames.sentence,
    }
    statistics = {name: describe(values) for name, values in features.items()}
    rows = [
        row
        for table in dict.fromkeys(row.table for row in dataset.episodes)
        for row in read_table(dataset.small_file(table), None).to_pylist()
    ]
    for camera in dataset.cameras.values():
        prefix = f"stats/{camera.feature}/"
        parts = [
            {key.removeprefix(prefix): v for key, v in row.items() if key.startswith(prefix)}
            for row in rows[: len(dataset.episodes)]
        ]
        statistics[camera.feature] = combine_descriptions(parts)
    return statistics


def load_statistics(dataset: Dataset) -> dict[str, Statistics]:
    """Return the statistics of ``state`` and ``action`` of a data set.

    They are read from ``meta/stats.json``. A file that lacks the quantiles (older LeRobot), counts
    other frames than the data set has, or is not the one whose checksum was noted is not used: they
    are computed from the frames then.

    Raises:
        InputError: If a file of the data set is damaged.
    """
    stored = _stored(dataset)
    statistics = {}
    for name, dim in (("state", dataset.state_dim), ("action", dataset.action_dim)):
        found = stored.get(feature_name(name), {})
        usable = found.get("count") == [len(dataset)] and all(
            _is_finite(found.get(key), dim) for key in _FIELDS.values()
        )
        if not usable:
            found = describe(getattr(dataset.frames, name))
        statistics[name] = to_statistics(found)
    return statistics


def to_statistics(described: Mapping[str, Any]) -> Statistics:
    """Return what a policy needs of LeRobot's statistics of a feature.

    Example:
        >>> to_statistics(describe(np.array([[0.0], [2.0]]))).mean
        array([1.], dtype=float32)
    """
    return Statistics(**{f: np.asarray(described[k], np.float32) for f, k in _FIELDS.items()})


def _stored(dataset: Dataset) -> Mapping[str, Any]:
    path = inside(dataset.folder, STATISTICS_PATH)
    if not path.is_file():
        return {}
    checksums = dataset.info.get(FILE_CHECKSUMS)
    if checksums is not None and file_checksum(path) not in checksums.get(STATISTICS_PATH, []):
        _LOGGER.warning(
            "%s is not the file that was written: the statistics are computed from the frames.",
            path,
        )
        return {}
    try:
        stored = json.loads(path.read_bytes())
        return {name: dict(found) for name, found in stored.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as a LeRobot statistics file: it is truncated or altered. "
            "Delete it, and the statistics are computed anew."
        ) from error


def _is_finite(numbers: object, dim: int) -> bool:
    """Return whether this is a list of that many numbers, all finite."""
    try:
        values = np.asarray(numbers, np.float64)
    except (ValueError, TypeError, OverflowError):
        return False
    return values.shape == (dim,) and bool(np.isfinite(values).all())
