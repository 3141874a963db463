"""Downloads: another process draws when one dies, and no file stays."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psutil
import pytest

from eyehand.files import locked
from eyehand.live import downloads as downloads_module
from eyehand.live.downloads import PREFIX, WRITERS, Downloads, chunks, own_folder
from eyehand.live.robot import LivePolicy, Take
from eyehand.types import InputError

LIVE = LivePolicy("still", {"top": 16}, horizon=4, executed=2)
TAKE = Take("two-ways", 3, "go")


class ThreadPool(ProcessPoolExecutor):
    """A pool of one thread instead of one process."""

    def __init__(self) -> None:
        thread = ThreadPoolExecutor(1)
        self._processes = {}
        self.submit, self.shutdown = thread.submit, thread.shutdown


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Downloads]:
    """Make downloads whose film is written by a function, in a thread."""

    def make_with(write: Callable[[Path], Any]) -> Downloads:
        monkeypatch.setitem(WRITERS, "film.mp4", lambda suite, take, live, file: write(file))
        return Downloads("two-ways", LIVE, tmp_path)

    monkeypatch.setattr(downloads_module, "_start_pool", ThreadPool)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())  # it is changed for the writers
    return make_with


def read(downloads: Downloads) -> bytes:
    async def all_of_it() -> bytes:
        file = await downloads.draw("film.mp4", TAKE)
        return b"".join([chunk async for chunk in chunks(file)])

    return asyncio.run(all_of_it())


def test_a_process_that_died_is_replaced(make: Any, tmp_path: Path) -> None:
    tries: list[Path] = []

    def die_once(file: Path) -> None:
        tries.append(file)
        if len(tries) == 1:
            Path(tempfile.mkdtemp(), "left").touch()
            raise BrokenProcessPool
        file.write_bytes(b"film" * 50_000)

    downloads = make(die_once)
    before = downloads._pool
    assert read(downloads) == b"film" * 50_000
    assert downloads._pool is not before
    assert list(tmp_path.iterdir()) == []
    assert read(downloads) == b"film" * 50_000
    assert len(tries) == 3
    downloads.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenProcessPool(), "the process that draws died or takes too long"),
        (TimeoutError(), "the process that draws died or takes too long"),
        (InputError("no person has led the hand"), "no person has led the hand"),
        (OSError(28, "No space left on device"), "cannot be written: No space left on device"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(
    make: Any, tmp_path: Path, error: Exception, said: str
) -> None:
    def fail(file: Path) -> None:
        file.with_suffix(".partial").touch()
        raise error

    downloads = make(fail)
    for _ in range(2):
        with pytest.raises(InputError, match=said):
            read(downloads)
    assert list(tmp_path.iterdir()) == []
    downloads.close()


def test_only_some_are_drawn_at_the_same_time(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads_module, "MOST_DOWNLOADS", 2)
    downloads = make(lambda file: file.touch())

    async def three() -> list[Any]:
        drawing = [downloads.draw("film.mp4", TAKE) for _ in range(3)]
        return await asyncio.gather(*drawing, return_exceptions=True)

    *done, refused = asyncio.run(three())
    for file in done:
        file.close()
    assert isinstance(refused, InputError)
    assert "2 downloads are being drawn already" in str(refused)
    assert read(downloads) == b""
    downloads.close()


def test_a_reader_that_leaves_closes_the_file(tmp_path: Path) -> None:
    file = (tmp_path / "film.mp4").open("w+b")
    file.write(b"film" * 50_000)
    file.seek(0)

    async def leave() -> None:
        reading = chunks(file)
        await anext(reading)
        await reading.aclose()

    asyncio.run(leave())
    assert file.closed


def test_the_folder_of_a_killed_server_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, living, other = (tmp_path / f"{name}-1" for name in (f"{PREFIX}a", f"{PREFIX}b", "x"))
    for folder in (killed, living, other):
        folder.mkdir()
        (folder / "film.mp4").touch()
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(precious)
    with locked(living, "shows a robot"), own_folder() as own:
        assert own.is_dir()
        assert not killed.exists()
        assert (living / "film.mp4").exists()
        assert (other / "film.mp4").exists()
        with own_folder() as second:
            assert own.is_dir()
            assert second.is_dir()
    assert not own.exists()
    assert not second.exists()
    assert precious.exists()


SERVER = """
import asyncio, os, sys, time
from pathlib import Path
from eyehand.live import downloads
from eyehand.live.robot import LivePolicy, Take
import job

if __name__ == "__main__":
    downloads.WRITERS = {"film.mp4": job.work}
    live = LivePolicy("still", {"top": 16}, horizon=4, executed=2)
    one = downloads.Downloads("two-ways", live, Path(sys.argv[1]))
    with asyncio.run(one.draw("film.mp4", Take("two-ways", 3, "go"))) as file:
        print(file.read().decode(), flush=True)
    asyncio.run(one.draw("film.mp4", Take("two-ways", 3, "go")))
"""
JOB = """
import os, signal, time
from pathlib import Path

def work(suite, take, live, file):
    tries = Path(__file__).with_name("tries")
    with tries.open("a") as log:
        log.write("x")
    if tries.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if tries.stat().st_size == 3:
        print(os.getpid(), flush=True)
        time.sleep(60)
    file.write_text("drawn")
"""


@pytest.mark.slow
def test_real_processes(tmp_path: Path) -> None:
    """The one that draws is killed, another draws; and that one ends when the server is killed."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, str(tmp_path / "server.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "drawn\n"
        drawing = psutil.Process(int(server.stdout.readline()))
        server.kill()
        drawing.wait(timeout=30)
