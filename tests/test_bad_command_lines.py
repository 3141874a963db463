"""Hundreds of bad command lines: each ends with a sentence and exit code 2, and writes nothing."""

import contextlib
import io
import re
import shlex
import time
import tomllib
from importlib import import_module
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from eyehand.cli import VERBS, main
from eyehand.data.store import open_store
from eyehand.data.writer import DatasetWriter
from eyehand.envs.suite import find_suite
from eyehand.policies.registry import RELEASED
from eyehand.types import Episode

TABLE = Path(__file__).with_name("bad_command_lines.toml")
SECONDS = 2.0
"""Most seconds that a processor works for one line."""
SPREAD = 7
"""The default tests run every so manieth line of the table, the slow ones the others."""


def read_table() -> list[tuple[str, str, str]]:
    """Return verb, arguments and pattern of every line."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [(verb, *line) for verb, lines in table.items() for line in lines]


def fill(verb: str, arguments: str, places: dict[str, str]) -> list[str]:
    """Return the words of a line, with the places filled in."""
    words = [word.format_map(places) for word in shlex.split(arguments)]
    return words if verb == "none" else [verb, *words]


def make_places(folder: Path) -> dict[str, str]:
    """Make what the lines name, in ``folder``, and return it by its name in the table."""
    shape = (12, 96, 96, 3)
    with DatasetWriter(
        folder / "data", fps=80, image_shapes={"corner4": shape[1:3]}, state_dim=4, action_dim=4,
        robot="sawyer",
    ) as writer:  # fmt: skip
        writer.add(
            Episode(
                image={"corner4": np.random.default_rng(0).integers(0, 256, shape, np.uint8)},
                state=np.zeros((12, 4), np.float32),
                action=np.zeros((12, 4), np.float32),
                instruction="reach the red dot",
                task="reach",
                seed=0,
            )
        )
    open_store(folder / "data", image_size=96)  # pictures are decoded once, which takes its time
    (folder / "file").write_text("text")
    (folder / "full" / "folder.mp4").mkdir(parents=True)
    (folder / "full" / "notes.txt").write_text("mine")
    return {
        "data": str(folder / "data"),
        "policy": str(RELEASED / "mt50"),
        "file": str(folder / "file"),
        "full": str(folder / "full"),
        "new": str(folder / "new"),
        "closed": "/sys/eyehand/closed",  # even the administrator may make nothing there
        "long": str(folder / ("n" * 300)),
        "bytes": "\udcff\udcfe",
        "words": "pull the drawer " * 6667,
        "digits": "1" + 30 * "0",
    }


def run_line(words: list[str]) -> tuple[int, str, bool, float]:
    """Return exit code, standard error, whether tyro explained it itself, and the seconds."""
    error, by_tyro, began = io.StringIO(), False, time.process_time()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as stop:
            code, by_tyro = int(stop.code or 0), True
    return code, error.getvalue(), by_tyro, time.process_time() - began


def problems(line: tuple[str, str, str], places: dict[str, str], folder: Path) -> list[str]:
    """Return what is wrong with how a line ended."""
    verb, arguments, pattern = line
    before = contents(folder)
    try:
        code, said, by_tyro, seconds = run_line(fill(verb, arguments, places))
        if seconds > SECONDS:  # the first of its kind imports what others find imported
            seconds = run_line(fill(verb, arguments, places))[-1]
    except Exception as error:
        return [f"a traceback: {type(error).__name__}: {error!s:.300}"]
    flat = re.sub(r"[\s│]+", " ", said)
    found = [f"{code=}"] if code != 2 else []
    if not by_tyro and not (said.startswith("eyehand: ") and said.count("\n") == 1):
        found.append("not one sentence")
    if not re.search(pattern, flat):
        found.append(f"no {pattern!r}")
    if seconds > SECONDS:
        found.append(f"{seconds:.1f} s")
    if made := contents(folder) ^ before:
        found.append(f"wrote {sorted(made)[:3]}")
    return [f"{', '.join(found)}: {said[:600]!r}"] if found else []


def contents(folder: Path) -> set[tuple[str, int]]:
    """Return names and sizes of everything below a folder, but for decoded pictures."""
    return {
        (str(path.relative_to(folder)), path.stat().st_size if path.is_file() else 0)
        for path in folder.rglob("*")
        if ".frames" not in path.parts
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    for verb in VERBS:  # what a line takes to be refused, without what Python takes to begin
        import_module(f"eyehand.cli.{verb}")
    find_suite("metaworld")
    return make_places(tmp_path_factory.mktemp("places"))


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that begins its work is found out by its first process, or by its server."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the line began its work")

    monkeypatch.delenv("EYEHAND_TOKEN", raising=False)
    monkeypatch.setattr(SpawnProcess, "_Popen", staticmethod(refuse))
    monkeypatch.setattr(uvicorn.Server, "run", refuse)


def test_the_table_holds_hundreds_of_lines_of_every_verb() -> None:
    lines = read_table()
    assert len(lines) == len(set(lines)) > 300
    assert {verb for verb, _, _ in lines} == {"none", *VERBS}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=f"{number}", marks=[pytest.mark.slow] if number % SPREAD else [])
        for number, line in enumerate(read_table())
    ],
)
def test_a_bad_line_is_one_sentence_and_writes_nothing(
    line: tuple[str, str, str], places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(places["new"]).parent
    monkeypatch.chdir(folder)
    assert problems(line, places, folder) == []
