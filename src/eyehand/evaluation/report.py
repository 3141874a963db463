"""The report: one page without any file beside it that says what was measured, and shows it."""

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eyehand.checksums import read_line
from eyehand.envs.suite import find_suite
from eyehand.evaluation.chain import read_chains
from eyehand.evaluation.page import fill
from eyehand.evaluation.probes import SWAPPED
from eyehand.evaluation.results import Film, mean_rows, read_results
from eyehand.files import replace_text
from eyehand.types import InputError

FILM_BYTES = 7_000_000
"""Films put into the page, at most; in base64 they grow by a third."""
AUTOPLAYED = 12
"""Films that play by themselves, at most: more would keep a phone busy."""
CURVE_POINTS = 400
"""Points of one training curve; more are averaged."""


@dataclass(frozen=True)
class Curve:
    """One figure of training over its steps, ready to be drawn."""

    name: str
    points: str
    """``x,y`` of every point, from 0,0 at the upper left to 300,100 at the lower right."""
    first_step: float
    last_step: float
    lowest: float
    highest: float
    last: float
    """The last value; not averaged."""
    logarithmic: bool
    """Whether heights are logarithms: where the figure is a loss and above 0."""


def write_report(folder: Path, *, training: Path | None = None) -> Path:
    """Write the page of an evaluation, ``report.html`` in ``folder``, and return its path.

    Args:
        folder: Folder of the evaluation, with ``results.json``, films, and ``chains.json`` if
            chains were told.
        training: Folder of the training run; curves are drawn from its ``metrics.jsonl``, if it has
            one (a checkpoint that was copied elsewhere has none).

    Raises:
        InputError: If the results are missing, damaged or unfinished, or the metrics damaged.
    """
    results, chains = read_results(folder), read_chains(folder)
    if chains is not None and chains.checkpoint_sha256 != results.checkpoint_sha256:
        chains = None  # of another policy, that was evaluated here before
    films, suite = _films(results.films, folder), find_suite(results.suite)
    page = fill(
        "report.html",
        name=Path(results.checkpoint).name,
        results=results,
        means=mean_rows(results),
        tasks_by_success=sorted(
            results.tasks.items(), key=lambda named: (-named[1].success_rate, named[0])
        ),
        swapped=SWAPPED,
        chains=chains,
        limit=" or ".join(map(str, sorted({suite.limit(task) for task in results.tasks}))),
        films=films,
        films_left_out=len(results.films) - sum(map(len, films.values())),
        autoplay=len(results.films) <= AUTOPLAYED,
        curves=training_curves(training) if training is not None else [],
    )
    out = folder / "report.html"
    replace_text(out, page)
    return out


def _films(films: Sequence[Film], folder: Path) -> dict[str, list[tuple[Film, str]]]:
    """Return the films that fit into the page, in base64, by task."""
    left = FILM_BYTES
    found: dict[str, list[tuple[Film, str]]] = {}
    tasks = [film.task for film in films]
    for film in sorted(films, key=lambda film: tasks.index(film.task)):
        file = folder / film.file
        if file.is_file() and file.stat().st_size <= left:
            content = file.read_bytes()
            left -= len(content)
            found.setdefault(film.task, []).append((film, b64encode(content).decode("ascii")))
    return found


def training_curves(training: Path) -> list[Curve]:
    """Return a curve over the steps of every figure in the ``metrics.jsonl`` of a training.

    Without such a file, or with less than two lines in it, there are none.

    Raises:
        InputError: If a line is damaged, but for the last, which a kill may have cut short.
    """
    file = training / "metrics.jsonl"
    if not file.is_file():
        return []
    series: dict[str, list[tuple[float, float]]] = {}
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry, _ = read_line(line)
            step = float(entry["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise InputError(f"line {number} of {file} is damaged.") from error
        for name, value in entry.items():
            if (
                name not in ("step", "seconds")
                and isinstance(value, (int, float))
                and math.isfinite(value)
            ):
                series.setdefault(name, []).append((step, float(value)))
    return [curve(name, points) for name, points in series.items() if len(points) > 1]


def curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    """Return the curve through some steps and values; neighbours are averaged if there are many.

    Example:
        >>> curve("success", [(0.0, 0.5), (10.0, 1.0)]).points
        '0.0,100.0 300.0,0.0'
    """
    size = math.ceil(len(points) / CURVE_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    xs = [group[-1][0] for group in groups]
    ys = [sum(y for _, y in group) / len(group) for group in groups]
    logarithmic = "loss" in name and min(ys) > 0
    heights = [math.log(y) for y in ys] if logarithmic else ys
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    width = (xs[-1] - xs[0]) or 1.0
    path = " ".join(
        f"{300 * (x - xs[0]) / width:.1f},{100 * (1 - (y - low) / span):.1f}"
        for x, y in zip(xs, heights, strict=True)
    )
    return Curve(name, path, xs[0], xs[-1], min(ys), max(ys), points[-1][1], logarithmic)
