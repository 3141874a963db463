"""A data set as a page: episodes by task, their films, states and actions, and statistics.

The page is a folder: ``index.html``, a film and a picture of every camera of the episodes that are
shown, and ``look.json`` with the same figures for programs. It opens from disk, without a server.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float32, UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eyehand.data.lerobot import ACTION, LANDMARKS, STATE, Dataset, EpisodeRow
from eyehand.data.statistics import describe
from eyehand.evaluation.film import write_film
from eyehand.evaluation.rerun_recording import check_recording
from eyehand.files import replace_text
from eyehand.types import InputError

PAGE, FIGURES, FILMS = "index.html", "look.json", "films"
"""What the folder of a page holds."""
FILM_FPS, FILM_FRAMES = 30, 600
"""Most pictures a second, and in all, of one film: a longer episode is shown faster."""
FILM_HEIGHT, SMALLEST = 256, 128
"""Taller pictures are made smaller; those below the second number are doubled, which keeps their
colours: the usual video format has half as many rows and columns of colour."""
CURVE_POINTS = 240
"""Points of a curve; of a longer episode the least and greatest of neighbours are drawn."""
BINS = 24
"""Bars of a histogram."""


@dataclass(frozen=True)
class BrowserConfig:
    """What is shown of a data set, and where the page is written."""

    data: tyro.conf.Positional[Path]
    """Folder of the data set, in the LeRobot v3 layout."""
    out: Path | None = None
    """Folder for the page; left out, outputs/look/NAME."""
    episodes: int = 2
    """Episodes of each task that are shown with films and curves; statistics are of all."""
    most: int = 60
    """Episodes shown in all."""
    rerun: Path | None = None
    """Also write the shown episodes into a recording for the rerun viewer, an .rrd file."""

    def __post_init__(self) -> None:
        """Refuse what shows nothing."""
        for name in ("episodes", "most"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1. Got {getattr(self, name)}.")
        if self.rerun is not None:
            check_recording(self.rerun)


@dataclass(frozen=True)
class Group:
    """The episodes of one task, or of one sentence where the recorder named no task."""

    name: str
    """The task or the sentence."""
    rows: Sequence[EpisodeRow]
    """Its episodes."""
    sentences: Mapping[str, int]
    """What the robot was told, and in how many episodes."""


def write_browser(config: BrowserConfig) -> Path:
    """Write the page of a data set.

    Args:
        config: The data set, and how much of it is shown.

    Returns:
        The page, ``index.html`` in its folder.

    Raises:
        InputError: If the folder is no data set, a file of it is damaged, or the page or the
            recording cannot be written.
    """
    dataset = Dataset(config.data)
    groups = group_episodes(dataset)
    shown = choose_episodes(groups, each=config.episodes, most=config.most)
    out = config.out or Path("outputs/look") / config.data.resolve().name
    _check_place(out)
    ranges = {feature: describe(values) for feature, values in _vectors(dataset).items()}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} frames"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    films = FilmWriter(dataset, out / FILMS)
    with bar:
        frames = sum(row.length for row in shown) * max(1, len(dataset.cameras))
        job = bar.add_task("films", total=frames)
        episodes = []
        for row in shown:
            names = films.write(row)
            bar.advance(job, row.length * max(1, len(dataset.cameras)))
            episodes.append(describe_episode(dataset, row, ranges, names))
    films.remove_others()
    found = {
        "name": config.data.resolve().name,
        **describe_dataset(dataset, groups, ranges),
        "shown": episodes,
    }
    replace_text(out / FIGURES, json.dumps(found))
    environment = Environment(
        loader=PackageLoader("eyehand.runs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    replace_text(out / PAGE, environment.get_template("look.html").render(found))
    if config.rerun is not None:
        record_shown(dataset, shown, config.rerun)
    return out / PAGE


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


def choose_episodes(groups: Sequence[Group], *, each: int, most: int) -> list[EpisodeRow]:
    """Return the first episodes of every task: of each one before a second of any.

    Args:
        groups: The tasks.
        each: Episodes of a task, at most.
        most: Episodes in all, at most.
    """
    rounds = zip_longest(*(group.rows[:each] for group in groups))
    chosen = [row for row in chain.from_iterable(rounds) if row is not None][:most]
    order = {row.index: number for number, row in enumerate(r for g in groups for r in g.rows)}
    return sorted(chosen, key=lambda row: order[row.index])


class FilmWriter:
    """Writes small films of episodes, H.264 in MP4, and a picture of each as JPEG.

    Args:
        dataset: Whose episodes.
        folder: Where the films are written; it is made.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.written: set[str] = set()

    def write(self, row: EpisodeRow) -> dict[str, str]:
        """Write an episode's films; return their names without ending, by camera."""
        names = {}
        _, fps = film_rhythm(row.length, self.dataset.fps)
        for number, camera in enumerate(self.dataset.cameras):
            names[camera] = name = f"episode-{row.index:06d}-{number}"
            pictures = self._pictures(row, camera)
            first = next(pictures)
            self.folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(first).save(self.folder / f"{name}.jpg", quality=80)
            write_film(chain([first], pictures), self.folder / f"{name}.mp4", fps=fps)
            self.written |= {f"{name}.jpg", f"{name}.mp4"}
        return names

    def remove_others(self) -> None:
        """Remove the films of an earlier page in the same folder."""
        for file in self.folder.glob("episode-*"):
            if file.name not in self.written and re.fullmatch(r"episode-\d+-\d+\.\w+", file.name):
                file.unlink()

    def _pictures(self, row: EpisodeRow, camera: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        stride, _ = film_rhythm(row.length, self.dataset.fps)
        size: tuple[int, int] | None = None
        for number, picture in self.dataset.images(camera, first=row.index, stop=row.index + 1):
            if (number - row.start) % stride == 0:
                size = size or film_size(*picture.shape[:2])
                small = Image.fromarray(picture).resize(size[::-1], _resample(picture, size))
                yield np.asarray(small)


def film_rhythm(length: int, fps: int) -> tuple[int, int]:
    """Return every how many frames a film has a picture, and its pictures a second.

    Example:
        >>> film_rhythm(90, 80), film_rhythm(60, 10), film_rhythm(36_000, 30)
        ((3, 27), (1, 10), (60, 30))
    """
    stride = ceil(fps / FILM_FPS)
    return max(stride, ceil(length / FILM_FRAMES)), round(fps / stride)


def film_size(height: int, width: int) -> tuple[int, int]:
    """Return the even height and width of a film's pictures, in pixels.

    Example:
        >>> film_size(96, 96), film_size(480, 640), film_size(225, 225)
        ((192, 192), (256, 342), (226, 226))
    """
    scale = 2.0 if height < SMALLEST else min(1.0, FILM_HEIGHT / height)
    return 2 * ceil(scale * height / 2), 2 * ceil(scale * width / 2)


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
    counts, edges = np.histogram(lengths, BINS)
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
            "bars": counts.tolist(),
            "least": int(edges[0]),
            "greatest": int(edges[-1]),
            "median": float(np.median(lengths)),
        },
        "cameras": [
            {"name": name, "height": camera.height, "width": camera.width}
            for name, camera in dataset.cameras.items()
        ],
        "numbers": {
            feature: _describe_numbers(dataset, feature, values, ranges[feature])
            for feature, values in _vectors(dataset).items()
        },
        "landmarks": point_names(dataset),
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
        ranges: LeRobot's statistics of state and action, by which curves are scaled.
        films: Names of its films by camera.
    """
    stride, fps = film_rhythm(row.length, dataset.fps)
    own = slice(row.start, row.start + row.length)
    sentences = told(dataset, row)
    curves = []
    for feature, values in _vectors(dataset).items():
        for number, name in enumerate(dimension_names(dataset, feature)):
            low, high = (float(ranges[feature][end][number]) for end in ("min", "max"))
            path = curve(values[own, number], low, high)
            curves.append({"of": feature, "name": name, "path": path, "low": low, "high": high})
    landmarks = dataset.frames.landmarks
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
        # With several cameras nobody says in whose picture the landmarks are.
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
    found = dataset.info["features"][feature]
    (size,) = found["shape"]
    names = _names(found)
    return names if len(names) == size else [str(number) for number in range(size)]


def point_names(dataset: Dataset) -> list[str]:
    """Return the names of the landmarks; empty where there are none."""
    if dataset.frames.landmarks is None:
        return []
    return [name.removesuffix(" x") for name in dimension_names(dataset, LANDMARKS)[::3]]


def record_shown(dataset: Dataset, rows: Sequence[EpisodeRow], file: Path) -> None:
    """Write episodes into a recording for the rerun viewer: pictures, numbers and landmarks.

    Args:
        dataset: The data set.
        rows: The episodes.
        file: The ``.rrd`` file.

    Raises:
        InputError: If the file cannot be written, or a file of the data set is damaged.
    """
    import rerun

    stream: Any = rerun.RecordingStream("eyehand")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream.save(file)
    except (OSError, RuntimeError) as error:
        raise InputError(f"--rerun {file} cannot be written: {error}.") from error
    names = {feature: dimension_names(dataset, feature) for feature in _vectors(dataset)}
    for row in rows:
        place = f"episode_{row.index:06d}"
        for feature, words in names.items():
            stream.log(f"{place}/{feature}", rerun.SeriesLines(names=words), static=True)
        for frame in range(row.length):
            stream.set_time("frame", sequence=frame)
            number = dataset.frames.sentence[row.start + frame]
            stream.log(f"{place}/sentence", rerun.TextDocument(dataset.sentences[number]))
            for feature, values in _vectors(dataset).items():
                stream.log(f"{place}/{feature}", rerun.Scalars(values[row.start + frame]))
        for camera in dataset.cameras:
            for number, picture in dataset.images(camera, first=row.index, stop=row.index + 1):
                stream.set_time("frame", sequence=number - row.start)
                stream.log(f"{place}/{camera}", rerun.Image(picture).compress())
                if dataset.frames.landmarks is not None and len(dataset.cameras) == 1:
                    places = dataset.frames.landmarks[number, :, :2]
                    pixels = (places + 1) / 2 * picture.shape[1::-1]
                    points = rerun.Points2D(pixels, labels=point_names(dataset), radii=2)
                    stream.log(f"{place}/{camera}/landmarks", points)
    stream.flush()
    stream.disconnect()


def _vectors(dataset: Dataset) -> dict[str, Float32[np.ndarray, "frame _"]]:
    """Return state and action of every frame, by feature; what has no numbers is left out."""
    both = {STATE: dataset.frames.state, ACTION: dataset.frames.action}
    return {feature: values for feature, values in both.items() if values.shape[1]}


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


def _resample(picture: np.ndarray, size: tuple[int, int]) -> Image.Resampling:
    is_larger = size[0] > picture.shape[0]
    return Image.Resampling.NEAREST if is_larger else Image.Resampling.LANCZOS


def _check_place(out: Path) -> None:
    """Make the folder of a page; refuse one that holds anything else, before the work begins."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = {file.name.removesuffix(".partial") for file in out.iterdir()}
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written: {error}.") from error
    if strange := sorted(others - {PAGE, FIGURES, FILMS}):
        raise InputError(
            f"--out: {out} holds something else ({strange[0]}); name a new or an empty folder."
        )
