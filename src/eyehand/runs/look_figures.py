"""The figures that the page of a data set shows: of the whole, of its tasks, of single episodes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, prod
from typing import Any

import numpy as np
from jaxtyping import Float32

from eyehand.data.columns import ACTION, LANDMARKS, STATE, feature_name
from eyehand.data.layout import EpisodeRow
from eyehand.data.lerobot import Dataset

FILM_FPS, FILM_FRAMES = 30, 600
"""Most pictures a second, and in all, of one film: a longer episode is shown faster."""
CURVE_POINTS = 240
"""Points of a curve; of a longer episode the least and greatest of neighbours are drawn."""
BINS = 24
"""Bars of a histogram."""
MOST_NUMBERS = 32
"""Numbers of a column that is shown; one with more, such as a depth image, is only named."""


@dataclass(frozen=True)
class Group:
    """The episodes of one task, or of one sentence where the recorder named no task."""

    name: str
    """The task or the sentence."""
    rows: Sequence[EpisodeRow]
    """Its episodes."""
    sentences: Mapping[str, int]
    """What the robot was told, and in how many episodes."""


def group_episodes(dataset: Dataset) -> list[Group]:
    """Return the episodes by task, in the order of the data set."""
    rows: dict[str, list[EpisodeRow]] = {}
    for row in (row for row in dataset.episodes if row.length):
        rows.setdefault(row.task or told(dataset, row)[0], []).append(row)
    return [
        Group(name, own, Counter(chain.from_iterable(told(dataset, row) for row in own)))
        for name, own in rows.items()
    ]


def told(dataset: Dataset, row: EpisodeRow) -> list[str]:
    """Return the sentences of an episode, each once, in their order."""
    numbers = dataset.frames.sentence[row.start : row.start + row.length].tolist()
    return [dataset.sentences[number] for number in dict.fromkeys(numbers)]


def film_rhythm(length: int, fps: int) -> tuple[int, int]:
    """Return every how many frames a film has a picture, and its pictures a second.

    Example:
        >>> film_rhythm(90, 80), film_rhythm(60, 10), film_rhythm(36_000, 30)
        ((3, 27), (1, 10), (60, 30))
    """
    stride = ceil(fps / FILM_FPS)
    return max(stride, ceil(length / FILM_FRAMES)), round(fps / stride)


def describe_dataset(
    dataset: Dataset, groups: Sequence[Group], ranges: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of the whole data set that the page shows, for JSON.

    Args:
        dataset: The data set.
        groups: Its tasks.
        ranges: LeRobot's statistics of state and action, where there are any.
    """
    lengths = np.array([row.length for row in dataset.episodes])
    least, greatest = int(lengths.min()), int(lengths.max())
    bins = min(BINS, greatest - least + 1)  # at least one length to a bar
    sentences: Counter[str] = Counter()
    for group in groups:
        sentences.update(group.sentences)
    return {
        "robot": dataset.info.get("robot_type") or "",
        "fps": dataset.fps,
        "frames": len(dataset),
        "episodes": len(lengths),
        "seconds": len(dataset) / dataset.fps,
        "named": bool(dataset.episodes[0].task),
        "tasks": [_describe_group(group) for group in groups],
        "sentences": [{"text": text, "episodes": n} for text, n in sentences.most_common()],
        "lengths": {
            "bars": np.histogram(lengths, bins)[0].tolist(),
            "least": least,
            "greatest": greatest,
            "median": float(np.median(lengths)),
        },
        "cameras": [
            {"name": name, "height": camera.height, "width": camera.width}
            for name, camera in dataset.cameras.items()
        ],
        "numbers": {
            feature: _describe_numbers(dataset, feature, values, ranges[feature])
            for feature, values in numbers(dataset).items()
        },
        "landmarks": point_names(dataset),
        "not_shown": sorted(dataset.columns.keys() - ranges.keys() - {LANDMARKS}),
        "features": [
            {
                "name": name,
                "type": feature["dtype"],
                "shape": " x ".join(map(str, feature["shape"])),
                "names": ", ".join(_names(feature)),
            }
            for name, feature in dataset.info["features"].items()
        ],
    }


def describe_episode(
    dataset: Dataset, row: EpisodeRow, ranges: Mapping[str, Any], films: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the page shows of one episode, for JSON.

    Args:
        dataset: Its data set.
        row: The episode.
        ranges: LeRobot's statistics of state and action, for the scale of the curves.
        films: Names of its films by camera.
    """
    stride, fps = film_rhythm(row.length, dataset.fps)
    own = slice(row.start, row.start + row.length)
    sentences = told(dataset, row)
    curves = []
    for feature, values in numbers(dataset).items():
        for number, name in enumerate(dimension_names(dataset, feature)):
            low, high = (float(ranges[feature][end][number]) for end in ("min", "max"))
            path = curve(values[own, number], low, high)
            curves.append({"of": feature, "name": name, "path": path, "low": low, "high": high})
    landmarks = dataset.frames.columns.get(LANDMARKS)
    points = [] if landmarks is None else landmarks[own][::stride, :, :2].round(3).tolist()
    return {
        "index": row.index,
        "task": row.task or sentences[0],
        "seed": row.seed,
        "frames": row.length,
        "seconds": row.length / dataset.fps,
        "sentences": sentences,
        "films": dict(films),
        "stride": stride,
        "film_fps": fps,
        "speed": stride * fps / dataset.fps,
        "curves": curves,
        # With several cameras it is unknown in which picture the landmarks are.
        "points": points if len(dataset.cameras) == 1 else [],
    }


def curve(values: Float32[np.ndarray, " time"], low: float, high: float) -> str:
    """Return the points of an SVG polyline, 300 wide and 60 high, from ``low`` up to ``high``.

    Example:
        >>> curve(np.array([0, 1, 0], np.float32), 0.0, 1.0)
        '0,60 150,0 300,60'
    """
    if len(values) > CURVE_POINTS:
        parts = np.array_split(values, CURVE_POINTS // 2)
        values = np.array([end(part) for part in parts for end in (np.min, np.max)], np.float32)
    x = np.linspace(0, 300, len(values))
    y = 60 * (1 - (values - low) / ((high - low) or 1))
    return " ".join(f"{right:.4g},{down:.3g}" for right, down in zip(x, y, strict=True))


def dimension_names(dataset: Dataset, feature: str) -> list[str]:
    """Return a name for every number of a feature: the data set's own, or its position."""
    found = dataset.info["features"][feature_name(feature)]
    size, names = prod(found["shape"]), _names(found)
    return names if len(names) == size else [str(number) for number in range(size)]


def point_names(dataset: Dataset) -> list[str]:
    """Return the names of the landmarks; empty where there are none."""
    if LANDMARKS not in dataset.columns:
        return []
    return [name.removesuffix(" x") for name in dimension_names(dataset, LANDMARKS)[::3]]


def numbers(dataset: Dataset) -> dict[str, Float32[np.ndarray, "frame _"]]:
    """Return state, action and the other columns of every frame, by name.

    Left out are the landmarks, columns with many numbers, and those with numbers that are not
    finite.
    """
    frames = dataset.frames
    found = {STATE: frames.state, ACTION: frames.action}
    for name, values in frames.columns.items():
        if name != LANDMARKS and dataset.columns[name].size <= MOST_NUMBERS:
            found[name] = values.reshape(len(dataset), -1).astype(np.float32)
    return {
        name: values
        for name, values in found.items()
        if values.shape[1] and np.isfinite(values).all()
    }


def _describe_group(group: Group) -> dict[str, Any]:
    lengths = [row.length for row in group.rows]
    return {
        "name": group.name,
        "episodes": len(lengths),
        "frames": sum(lengths),
        "shortest": min(lengths),
        "median": float(np.median(lengths)),
        "longest": max(lengths),
        "sentences": dict(group.sentences),
    }


def _describe_numbers(
    dataset: Dataset, feature: str, values: np.ndarray, found: Mapping[str, Any]
) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(dimension_names(dataset, feature)):
        figures = {end: float(found[end][number]) for end in ("min", "mean", "max", "std")}
        bars = np.histogram(values[:, number].astype(np.float64), BINS)[0].tolist()
        rows.append({"name": name, **figures, "bars": bars})
    return rows


def _names(feature: Mapping[str, Any]) -> list[str]:
    """Return the names of a feature: LeRobot has lists, and lists inside a dictionary."""
    names = feature.get("names") or []
    if isinstance(names, dict):
        names = next(iter(names.values())) if len(names) == 1 else list(names)
    return [str(name) for name in names] if isinstance(names, list) else []
