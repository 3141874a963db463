"""The files that the live page offers of an episode, drawn in a process of their own.

That process may die like the robot's; then another draws the file. What it writes lies in a folder
that is locked by this server: what a killed server leaves there is removed by the next one.
"""

import asyncio
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eyehand.child_process import end_with_parent, without_interrupt
from eyehand.collection.episodes import replay_episode, zip_episode
from eyehand.envs.rollout import Outcome, Start
from eyehand.envs.suite import Suite, find_suite
from eyehand.evaluation.film import film_episode
from eyehand.files import locked
from eyehand.live.robot import LivePolicy, Take
from eyehand.types import InputError

PREFIX = "eyehand-live-"
"""How the names of the servers' folders begin."""
MOST_DOWNLOADS = 8
"""Most files that are drawn or wait for it; more are refused."""
DRAWING_SECONDS = 300.0
"""Longest wait for a file, seconds; then the process that draws is replaced."""
CHUNK_BYTES = 65_536

Writer = Callable[[str, Take, LivePolicy, Path], None]
"""Writes a file of an episode; is given the suite's name."""


class Downloads:
    """Draws the files of episodes, one after the other, in a process that is replaced if it dies.

    ``folder`` is for the files; they are gone when nobody reads them any more.
    """

    def __init__(self, suite: str, live: LivePolicy, folder: Path) -> None:
        self._suite, self._live, self._folder = suite, live, folder
        self._asked = 0
        self._pool = _start_pool()

    def close(self) -> None:
        """End the process, also while it draws."""
        _end_pool(self._pool)
        self._pool.shutdown()

    async def draw(self, name: str, take: Take) -> BinaryIO:
        """Return a file of an episode, open to be read; it has no place on the disk any more.

        Args:
            name: A name in `WRITERS`.
            take: The episode.

        Raises:
            InputError: If the episode has no such file, too many are asked for at the same time, or
                it cannot be drawn.
        """
        if self._asked >= MOST_DOWNLOADS:
            raise InputError(f"{self._asked} downloads are being drawn already: try again later.")
        self._asked += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as place:
                file = Path(place) / name
                await self._write(name, take, file)
                return file.open("rb")
        except OSError as error:
            raise InputError(f"the file cannot be written: {error.strerror or error}.") from error
        finally:
            self._asked -= 1

    async def _write(self, name: str, take: Take, file: Path) -> None:
        for _ in range(2):
            pool = self._pool
            try:
                with without_interrupt():  # the first call starts the process
                    written = asyncio.get_running_loop().run_in_executor(
                        pool, _write, WRITERS[name], self._suite, take, self._live, file
                    )
                await asyncio.wait_for(written, DRAWING_SECONDS)
                return
            except BrokenProcessPool:
                self._replace(pool)
            except TimeoutError:
                self._replace(pool)
                break
        raise InputError("the process that draws died or takes too long: try again later.")

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        if pool is self._pool:  # else another download has done it
            self._pool = _start_pool()
            _end_pool(pool)


def _start_pool() -> ProcessPoolExecutor:
    # spawn: a GL context does not survive a fork.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)


def _end_pool(pool: ProcessPoolExecutor) -> None:
    """End a pool's process now; who waits for it is told that it is broken."""
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=False)


def _write(write: Writer, suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    tempfile.tempdir = str(file.parent)  # where all that is left of it will be removed
    write(suite, take, live, file)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Make a folder for temporary files, and remove those of servers that no longer run."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(InputError, OSError):  # a server that runs, or one that ends just now
            if old.lstat().st_uid == os.getuid():  # another user's may be a trap
                with locked(old, "removes the files of a server that was killed"):
                    shutil.rmtree(old)
    made = Path(tempfile.mkdtemp(prefix="eyehand-new-"))
    try:
        with locked(made, "shows a robot"):
            # Only what is locked gets the name: another server would remove it.
            made = made.rename(made.with_name(made.name.replace("eyehand-new-", PREFIX)))
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the content of a file, and close it also where nobody reads to the end."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def write_film_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Film an episode of the live robot."""
    start = Start(take.task, take.seed, take.sentence)
    outcome = Outcome(start, take.success, np.stack(take.actions))
    film_episode(find_suite(suite), outcome, file, size=480, stride=4)


def write_episode_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Write an episode of the live robot as a data set."""
    _write_episode(find_suite(suite), take, live, file, action_mask=None)


def write_correction_of(suite: str, take: Take, live: LivePolicy, file: Path) -> None:
    """Write an episode as a data set in which only the person's actions are to be learned.

    Raises:
        InputError: If there is no such part.
    """
    if not any(take.human):
        raise InputError("no person has led the hand in this episode: take over first.")
    _write_episode(find_suite(suite), take, live, file, action_mask=take.human)


def _write_episode(
    suite: Suite, take: Take, live: LivePolicy, file: Path, *, action_mask: list[bool] | None
) -> None:
    start = Start(take.task, take.seed, take.sentence)
    env = suite.make(take.task, cameras=live.cameras, render_observations=False)
    try:
        episode = replay_episode(env, start, take.actions, action_mask=action_mask)
    finally:
        env.close()
    zip_episode(episode, file, suite)


WRITERS: Mapping[str, Writer] = {
    "film.mp4": write_film_of,
    "episode.zip": write_episode_of,
    "correction.zip": write_correction_of,
}
"""What writes each file, by the file's name."""
