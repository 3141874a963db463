"""Pending episodes: whole and on the disk, a folder each, but not yet in a file of the data set.

``episode.json`` says what the episode is and carries its own checksum and those of the other files
of the folder, all of which are flushed before the folder gets its name.
"""

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from eyehand.checksums import read_json, write_json
from eyehand.data.encoding import EncodedEpisode
from eyehand.files import flush, replacing
from eyehand.types import InputError

_DESCRIPTION = "episode.json"


@dataclass(frozen=True)
class PendingEpisode:
    """What the folder of a pending episode says."""

    path: Path
    """The folder."""
    instruction: str
    """Sentence that the robot was told."""
    task: str
    """Name of the task in its suite."""
    seed: int
    """Seed of the start state."""
    length: int
    """Frames."""
    image_statistics: Mapping[str, Mapping[str, Any]]
    """LeRobot's statistics of the pictures, by camera."""
    files: Mapping[str, int]
    """CRC-32 of every other file of the folder, by its name."""

    @property
    def film_size(self) -> int:
        """Bytes of the largest film."""
        return max((file.stat().st_size for file in self.path.glob("*.mp4")), default=0)

    def check(self) -> None:
        """Read all files.

        Raises:
            InputError: If one is damaged.
        """
        for name in self.files:
            self._read(name)

    def film(self, camera: str) -> bytes:
        """Return the mp4 file of a camera.

        Raises:
            InputError: If it is damaged.
        """
        return self._read(f"{camera}.mp4")

    def numbers(self, name: str) -> Shaped[np.ndarray, "time ..."]:
        """Return state, action or a column.

        Raises:
            InputError: If the file is damaged.
        """
        found: np.ndarray = np.load(io.BytesIO(self._read(f"{name}.npy")), allow_pickle=False)
        return found

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from error
        if zlib.crc32(content) != self.files.get(name):
            raise InputError(f"{path} is truncated or altered (its checksum differs).")
        return content


def write_pending(
    path: Path, episode: EncodedEpisode, arrays: Mapping[str, Shaped[np.ndarray, "time ..."]]
) -> PendingEpisode:
    """Write the folder of an episode; it gets its name when the disk holds all of it.

    Args:
        path: The folder.
        episode: The episode.
        arrays: Its state, action and columns by name.
    """
    contents = {f"{camera}.mp4": film for camera, film in episode.film.items()}
    for name, values in arrays.items():
        file = io.BytesIO()
        np.save(file, values)
        contents[f"{name}.npy"] = file.getvalue()
    with replacing(path) as new:
        new.mkdir()
        for name, content in contents.items():
            (new / name).write_bytes(content)
            flush(new / name)
        description: dict[str, Any] = {
            "instruction": episode.instruction,
            "task": episode.task,
            "seed": episode.seed,
            "length": len(episode.state),
            "image_statistics": {k: dict(v) for k, v in episode.image_statistics.items()},
            "files": {name: zlib.crc32(content) for name, content in contents.items()},
        }
        write_json(new / _DESCRIPTION, description)
    return PendingEpisode(path, **description)


def read_pending(path: Path) -> PendingEpisode:
    """Return what the folder of an episode says; its files are compared when they are read.

    Raises:
        InputError: If the description is damaged, or is one of an earlier version.
    """
    try:
        return PendingEpisode(path, **read_json(path / _DESCRIPTION))
    except TypeError:  # the version before noted no checksums
        raise InputError(f"{path} is of another version of eyehand.") from None
