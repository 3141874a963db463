"""A data set as a page: episodes by task, their films, states and actions, and statistics.

The page is a folder: ``index.html``, a film and a picture of every camera of the episodes that are
shown, and ``look.json`` with the same figures for programs. It opens from disk, without a server.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eyehand.data.columns import LANDMARKS
from eyehand.data.layout import EpisodeRow
from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe
from eyehand.evaluation.film import write_film
from eyehand.evaluation.rerun_recording import check_recording, open_recording
from eyehand.files import check_place, replace_text
from eyehand.page import page_templates
from eyehand.runs.look_figures import (
    Group,
    describe_dataset,
    describe_episode,
    dimension_names,
    film_rhythm,
    group_episodes,
    numbers,
    point_names,
)
from eyehand.types import InputError, check_ranges

PAGE, FIGURES, FILMS = "index.html", "look.json", "films"
"""What the folder of a page holds."""
MOST_EPISODES = 1_000_000
FILM_HEIGHT, SMALLEST = 256, 128
"""Taller pictures are made smaller; those below the second number are doubled, which keeps their
colours: the usual video format has half as many rows and columns of colour."""


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
        check_ranges(self, episodes=(1, MOST_EPISODES), most=(1, MOST_EPISODES))
        if self.rerun is not None:
            check_recording(self.rerun)


def write_browser(config: BrowserConfig) -> Path:
    """Write the page of a data set, and return it: ``index.html`` in its folder.

    Raises:
        InputError: If the folder is no data set, a file of it is damaged, or the page or the
            recording cannot be written.
    """
    dataset = Dataset(config.data)
    groups = group_episodes(dataset)
    shown = choose_episodes(groups, each=config.episodes, most=config.most)
    out = config.out or Path("outputs/look") / config.data.resolve().name
    _check_place(out)
    ranges = {feature: describe(values) for feature, values in numbers(dataset).items()}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} frames"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    films = FilmWriter(dataset, out / FILMS)
    with bar:
        frames = sum(row.length for row in shown) * len(dataset.cameras)
        job = bar.add_task("films", total=frames)
        episodes = []
        for row in shown:
            names = films.write(row, partial(bar.advance, job))
            episodes.append(describe_episode(dataset, row, ranges, names))
    films.remove_others()
    found = {
        "name": config.data.resolve().name,
        **describe_dataset(dataset, groups, ranges),
        "shown": episodes,
    }
    replace_text(out / FIGURES, json.dumps(found))
    page = page_templates("eyehand.runs").get_template("look.html").render(found)
    replace_text(out / PAGE, page)
    if config.rerun is not None:
        record_shown(dataset, shown, config.rerun)
    return out / PAGE


def choose_episodes(groups: Sequence[Group], *, each: int, most: int) -> list[EpisodeRow]:
    """Return the first episodes of every task, at most ``each`` of it and ``most`` in all."""
    rounds = zip_longest(*(group.rows[:each] for group in groups))
    chosen = [row for row in chain.from_iterable(rounds) if row is not None][:most]
    order = {row.index: number for number, row in enumerate(r for g in groups for r in g.rows)}
    return sorted(chosen, key=lambda row: order[row.index])


class FilmWriter:
    """Writes small films of episodes into a folder, H.264 in MP4, and a picture of each as JPEG."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.written: set[str] = set()

    def write(self, row: EpisodeRow, advance: Callable[[], object]) -> dict[str, str]:
        """Write an episode's films; return their names without ending, by camera.

        ``advance`` is called after every frame that was read.
        """
        names = {}
        _, fps = film_rhythm(row.length, self.dataset.fps)
        for number, camera in enumerate(self.dataset.cameras):
            names[camera] = name = f"episode-{row.index:06d}-{number}"
            pictures = self._pictures(row, camera, advance)
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

    def _pictures(
        self, row: EpisodeRow, camera: str, advance: Callable[[], object]
    ) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        stride, _ = film_rhythm(row.length, self.dataset.fps)
        size: tuple[int, int] | None = None
        for number, picture in self.dataset.images(camera, first=row.index, stop=row.index + 1):
            advance()
            if (number - row.start) % stride == 0:
                size = size or film_size(*picture.shape[:2])
                doubled = size[0] >= 2 * len(picture)
                way = Image.Resampling.NEAREST if doubled else Image.Resampling.LANCZOS
                yield np.asarray(Image.fromarray(picture).resize(size[::-1], way))


def film_size(height: int, width: int) -> tuple[int, int]:
    """Return the even height and width of a film's pictures, in pixels.

    Example:
        >>> film_size(96, 96), film_size(480, 640), film_size(225, 225)
        ((192, 192), (256, 342), (226, 226))
    """
    scale = 2.0 if height < SMALLEST else min(1.0, FILM_HEIGHT / height)
    return 2 * ceil(scale * height / 2), 2 * ceil(scale * width / 2)


def record_shown(dataset: Dataset, rows: Sequence[EpisodeRow], file: Path) -> None:
    """Write episodes into an ``.rrd`` file for the rerun viewer: pictures, numbers, landmarks.

    Raises:
        InputError: If the file cannot be written, or a file of the data set is damaged.
    """
    import rerun

    stream = open_recording(file)
    vectors = numbers(dataset)
    names = {feature: dimension_names(dataset, feature) for feature in vectors}
    landmarks = dataset.frames.columns.get(LANDMARKS)
    for row in rows:
        place = f"episode_{row.index:06d}"
        for feature, words in names.items():
            stream.log(f"{place}/{feature}", rerun.SeriesLines(names=words), static=True)
        for frame in range(row.length):
            stream.set_time("frame", sequence=frame)
            number = dataset.frames.sentence[row.start + frame]
            stream.log(f"{place}/sentence", rerun.TextDocument(dataset.sentences[number]))
            for feature, values in vectors.items():
                stream.log(f"{place}/{feature}", rerun.Scalars(values[row.start + frame]))
        for camera in dataset.cameras:
            for number, picture in dataset.images(camera, first=row.index, stop=row.index + 1):
                stream.set_time("frame", sequence=number - row.start)
                stream.log(f"{place}/{camera}", rerun.Image(picture).compress())
                if landmarks is not None and len(dataset.cameras) == 1:
                    pixels = (landmarks[number, :, :2] + 1) / 2 * picture.shape[1::-1]
                    points = rerun.Points2D(pixels, labels=point_names(dataset), radii=2)
                    stream.log(f"{place}/{camera}/landmarks", points)
    stream.flush()
    stream.disconnect()


def _check_place(out: Path) -> None:
    """Make the folder of a page; refuse one that holds anything else, before the work begins."""
    check_place(out, folder=True)
    out.mkdir(parents=True, exist_ok=True)
    others = {file.name.removesuffix(".partial") for file in out.iterdir()}
    if strange := sorted(others - {PAGE, FIGURES, FILMS}):
        raise InputError(
            f"--out: {out} holds something else ({strange[0]}); name a new or an empty folder."
        )
