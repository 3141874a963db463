"""The LeRobot v3.0 data set layout: where everything lies, and what its small files say.

Source: https://github.com/huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx and
src/lerobot/datasets. A data set is a folder::

    meta/info.json                       version, frames per second, features, totals
    meta/tasks.parquet                   sentence -> task_index
    meta/stats.json                      statistics of every feature
    meta/episodes/chunk-000/file-000.parquet   a row an episode: sentences, length, where it lies
    data/chunk-000/file-000.parquet      a row a frame: state, action, time, numbers
    videos/<feature>/chunk-000/file-000.mp4    many episodes one after another

``meta/info.json`` is the truth about how much there is: episodes and frames beyond its totals are
leftovers of an interrupted recording and are not read. What LeRobot calls a task is a sentence
here; the name of the task in its suite and the seed of the start state are columns of our own,
``eyehand/task`` and ``eyehand/seed``, which LeRobot passes over, as it does the checksums of files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eyehand.data.parquet import read_table
from eyehand.data.video import KEY_FRAME_EVERY
from eyehand.types import InputError

VERSION = "v3.0"
IMAGE_PREFIXES = ("observation.images.", "observation.")
"""What is cut from a feature's name to get the camera's, the first that fits."""
INFO_PATH = "meta/info.json"
STATISTICS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASK_COLUMN, SEED_COLUMN = "eyehand/task", "eyehand/seed"
CHECKSUM_COLUMN = "eyehand/checksum/"
"""Before ``data`` or a video feature's name: CRC-32 of the file that the episode lies in."""
CHUNK_FILES = 1000
"""Files in a chunk folder."""


@dataclass(frozen=True)
class Camera:
    """One image or video feature."""

    feature: str
    """Its name in the data set, such as ``observation.images.top``."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    video: bool
    """True for a video, False for pictures inside the parquet files."""


@dataclass(frozen=True)
class EpisodeFile:
    """Where an episode begins in a file."""

    path: Path
    """The file, relative to the data set's folder."""
    first: int
    """Number of the episode's first frame in the file."""
    checksum: int | None
    """CRC-32 of the file, where the writer noted it."""


@dataclass(frozen=True)
class EpisodeRow:
    """What the table of episodes says about one episode."""

    index: int
    """Number of the episode."""
    start: int
    """Number of its first frame in the whole data set."""
    length: int
    """Frames."""
    task: str
    """Name of the task in its suite; empty where the recorder did not say."""
    seed: int
    """Seed of the start state; -1 where the recorder did not say."""
    data: EpisodeFile
    """Its states and actions."""
    videos: Mapping[str, EpisodeFile]
    """Its films, by camera."""


def read_info(path: Path) -> dict[str, Any]:
    """Return ``meta/info.json`` after checking what a reader relies on.

    Raises:
        InputError: If it is missing, damaged, or of another version.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent.parent} is not a LeRobot data set: it has no {INFO_PATH}. If a "
            "recording into it was interrupted, run the same command again to finish it."
        )
    try:
        info = json.loads(path.read_bytes())
        version = info["codebase_version"]
        needed = {key: info[key] for key in ("fps", "features", "data_path", "total_frames")}
        _ = {feature["dtype"]: feature["shape"] for feature in needed["features"].values()}
        sizes = [int(info["total_episodes"]), int(needed["total_frames"]), int(needed["fps"]) - 1]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as a LeRobot info file ({type(error).__name__}: {error}): it "
            "is truncated or altered. Restore the file."
        ) from error
    if version != VERSION:
        raise InputError(
            f"{path} is of LeRobot's format {version}; eyehand reads {VERSION}. Older data sets "
            "are converted by `python -m lerobot.datasets.v30.convert_dataset_v21_to_v30` of the "
            "lerobot package."
        )
    if min(sizes) < 0:
        raise InputError(f"{path} has a total or an fps that is not positive: restore the file.")
    return info


def cameras_from_features(folder: Path, features: Mapping[str, Any]) -> dict[str, Camera]:
    """Return the image and video features of ``meta/info.json`` by short name.

    Raises:
        InputError: If one has no colour pictures.
    """
    return {
        _camera_name(name): _camera(folder, name, feature)
        for name, feature in features.items()
        if feature["dtype"] in ("image", "video")
    }


def camera_feature(size: tuple[int, int], *, fps: int) -> dict[str, Any]:
    """Return what ``meta/info.json`` says about a camera whose films we wrote.

    Args:
        size: Height and width, pixels.
        fps: Frames per second.
    """
    height, width = size
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "gbrp",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "video.g": KEY_FRAME_EVERY,
            "has_audio": False,
        },
    }


def numbered(template: str, file: int, **names: str) -> str:
    """Return the path of a data set's file with this number.

    Example:
        >>> numbered(DATA_PATH, 1002)
        'data/chunk-001/file-002.parquet'
    """
    chunk, file = divmod(file, CHUNK_FILES)
    return template.format(chunk_index=chunk, file_index=file, **names)


def _camera_name(feature: str) -> str:
    prefix = next((prefix for prefix in IMAGE_PREFIXES if feature.startswith(prefix)), "")
    return feature.removeprefix(prefix)


def _camera(folder: Path, name: str, feature: Mapping[str, Any]) -> Camera:
    shape = list(feature["shape"])
    axes = feature.get("names")
    first = str(axes[0]) if isinstance(axes, list) and axes else ""
    if first.startswith("channel") or (len(shape) == 3 and shape[0] == 3 and shape[2] != 3):
        shape = [*shape[1:], shape[0]]
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(
            f"feature {name!r} of {folder} has the shape {feature['shape']}; colour pictures, "
            "height x width x 3, are expected."
        )
    return Camera(name, int(shape[0]), int(shape[1]), feature["dtype"] == "video")


def read_sentences(path: Path) -> tuple[str, ...]:
    """Return the sentences of ``meta/tasks.parquet`` by number.

    Raises:
        InputError: If the file is missing, damaged or of another form.
    """
    table = read_table(path, None)
    text = [
        name
        for name in table.column_names
        if pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)
    ]
    if "task_index" not in table.column_names or len(text) != 1:
        raise InputError(
            f"{path} has the columns {table.column_names}; `task_index` and one of sentences are "
            "expected."
        )
    sentences = dict(zip(table["task_index"].to_pylist(), table[text[0]].to_pylist(), strict=True))
    if sorted(sentences) != list(range(len(sentences))):
        raise InputError(f"the column `task_index` of {path} does not count from 0 on.")
    return tuple(sentences[number] for number in range(len(sentences)))
