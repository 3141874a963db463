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
``eyehand/task`` and ``eyehand/seed``, which LeRobot passes over.

Checksums
    Every file that we write is compared with its CRC-32 before it is read. ``meta/info.json``
    carries its own, in the entry ``checksum`` (`eyehand.checksums`), and in ``file_checksums``
    those of the other files of ``meta``; columns of the table of episodes carry those of data and
    videos. A file may have one of several checksums there: ``meta/tasks.parquet`` is replaced
    before the totals grow, so the old and the new one are noted before that, and a kill in between
    leaves a data set that can be read. The statistics have none until a recording is closed, and
    are computed from the frames where the file is not the one that is noted.

    A data set without these entries, of LeRobot or of eyehand before them, is read, and a line on
    standard error says so. LeRobot 0.4 and 0.5 keep the two entries when they change
    ``meta/info.json``: such a data set is refused with the sentence that they must be removed.
    LeRobot 0.6 passes over them with a warning and drops them when it writes the file. It keeps the
    columns: a data file or a video that it has changed is refused by its name.

Trust
    Names, numbers and paths of a data set are checked when it is opened (`eyehand.data.paths`):
    nothing outside its folder is read, written or deleted, whatever its files say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eyehand.checksums import CHECKSUM, file_checksum, read_json
from eyehand.data.parquet import damage_named, read_table
from eyehand.data.paths import check_name, check_template, inside
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
FILE_CHECKSUMS = "file_checksums"
"""Entry of ``meta/info.json``: path -> CRC-32 that the file may have."""
CHUNK_FILES = 1000
"""Files in a chunk folder."""
MOST_FRAMES = 10**9
"""In a data set; a hundred days at 100 frames per second."""
_MOST_FPS = 10**6
_MOST_AXES = 16
_MOST_PIXELS = 1 << 15
"""Height or width of a picture."""


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

    table: str
    """The file that says so, relative to the data set's folder."""
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


def read_info(folder: Path) -> dict[str, Any]:
    """Return ``meta/info.json`` after checking what a reader relies on.

    Raises:
        InputError: If it is missing, damaged, of another version, or has an entry that cannot be.
    """
    path = inside(folder, INFO_PATH)
    if not path.is_file():
        raise InputError(
            f"{folder} is not a LeRobot data set: it has no {INFO_PATH}. If a "
            "recording into it was interrupted, run the same command again to finish it."
        )
    info = read_json(path)
    if (version := info.get("codebase_version")) != VERSION:
        raise InputError(
            f"{path} is of LeRobot's format {_shown(version)}; eyehand reads {VERSION}. Older data "
            "sets are converted by `python -m lerobot.datasets.v30.convert_dataset_v21_to_v30` of "
            "the lerobot package."
        )
    for key, least, most in (
        ("fps", 1, _MOST_FPS), ("total_episodes", 0, MOST_FRAMES), ("total_frames", 0, MOST_FRAMES),
    ):  # fmt: skip
        info[key] = whole_number(info.get(key), least, most, f"{key!r} of {path}")
    features = info.get("features")
    if not isinstance(features, dict):
        raise InputError(f"'features' of {path} must be in braces. Got {_shown(features)}.")
    for name, feature in features.items():
        check_name(name, "feature", folder)
        if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str):
            raise InputError(f"feature {name!r} of {path} must have a dtype and a shape.")
        shape = feature.get("shape")
        if not isinstance(shape, list) or len(shape) > _MOST_AXES:
            raise InputError(f"the shape of feature {name!r} of {path} is {_shown(shape)}.")
        what = f"an axis of feature {name!r} of {path}"
        feature["shape"] = [whole_number(size, 0, MOST_FRAMES, what) for size in shape]
    numbers = ("chunk_index", "file_index")
    check_template(info.get("data_path"), numbers, "'data_path'", path)
    if any(feature["dtype"] == "video" for feature in features.values()):
        check_template(info.get("video_path"), ("video_key", *numbers), "'video_path'", path)
    noted = info.get(FILE_CHECKSUMS, {})
    if not isinstance(noted, dict) or not all(isinstance(sums, list) for sums in noted.values()):
        raise InputError(f"{FILE_CHECKSUMS!r} of {path} must hold lists of checksums. Remove it.")
    return info


def whole_number(value: Any, least: int, most: int, name: str) -> int:
    """Return a number of somebody else's file after checking that it is whole and in range.

    Raises:
        InputError: If it is not; ``name`` says what it is.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value <= most and value == int(value):  # NaN is in no range
        return int(value)
    raise InputError(f"{name} must be a whole number from {least} to {most}. Got {_shown(value)}.")


def checked_file(folder: Path, path: str | Path, checksums: Sequence[int] | None) -> Path:
    """Return where a file of a data set lies after comparing it with what was noted for it.

    Args:
        folder: The data set's folder.
        path: The file, relative to it.
        checksums: CRC-32 that the file may have; None where none was noted.

    Raises:
        InputError: If it is missing, lies elsewhere, cannot be read, or is another file.
    """
    whole = inside(folder, path)
    if not whole.is_file():
        raise InputError(f"{whole} is missing. Restore the file.")
    try:
        is_noted = checksums is None or file_checksum(whole) in checksums
    except OSError as error:
        raise InputError(f"{whole} cannot be read ({error.strerror}).") from error
    if not is_noted:
        raise InputError(
            f"{whole} is not the file that was recorded (its checksum differs): it is truncated or "
            "altered. Restore the file, or record the data set anew."
            + (
                f" If you changed it on purpose, remove the entries {CHECKSUM!r} and "
                f"{FILE_CHECKSUMS!r} of {INFO_PATH}."
                if whole.is_relative_to(folder / "meta")
                else ""
            )
        )
    return whole


def _shown(value: object) -> str:
    """Return a value for a sentence, without what could be long or deep."""
    return f"{value!r:.60}" if isinstance(value, int | float | str | None) else type(value).__name__


def cameras_from_features(folder: Path, features: Mapping[str, Any]) -> dict[str, Camera]:
    """Return the image and video features of ``meta/info.json`` by short name.

    Raises:
        InputError: If one has no colour pictures.
    """
    cameras = {
        _camera_name(name): _camera(folder, name, feature)
        for name, feature in features.items()
        if feature["dtype"] in ("image", "video")
    }
    for name in cameras:
        check_name(name, "camera", folder)
    return cameras


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
    if len(shape) != 3 or shape[2] != 3 or not 0 < min(shape) <= max(shape) <= _MOST_PIXELS:
        raise InputError(
            f"feature {name!r} of {folder} has the shape {feature['shape']}; colour pictures, "
            f"height x width x 3, of up to {_MOST_PIXELS} pixels a side are expected."
        )
    return Camera(name, shape[0], shape[1], feature["dtype"] == "video")


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
    with damage_named(path):
        numbers, texts = table["task_index"].to_pylist(), table[text[0]].to_pylist()
    sentences = dict(zip(numbers, texts, strict=True))
    if sentences.keys() != set(range(len(sentences))) or None in texts:
        raise InputError(f"{path} must number its sentences from 0 on, with none left out.")
    return tuple(sentences[number] for number in range(len(sentences)))
