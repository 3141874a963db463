"""The LeRobot v3.0 data set layout: where everything lies, and how it is read.

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64, UInt8

from eyehand.data.parquet import open_parquet, read_pictures, read_table
from eyehand.data.video import decode_video, file_checksum
from eyehand.functional.names import unknown_name
from eyehand.types import Episode, InputError

VERSION = "v3.0"
STATE = "observation.state"
ACTION = "action"
LANDMARKS = "privileged.landmarks"
"""Not below ``observation``, so that no policy of LeRobot takes it for an input."""
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
class Place:
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
    data: Place
    """Its states and actions."""
    videos: Mapping[str, Place]
    """Its films, by camera."""


@dataclass(frozen=True)
class Frames:
    """States, actions and sentences of every frame, in order."""

    state: Float32[np.ndarray, "frame state"]
    action: Float32[np.ndarray, "frame action"]
    timestamp: Float32[np.ndarray, " frame"]
    """Seconds since the episode's first frame."""
    sentence: Int64[np.ndarray, " frame"]
    """Index into the data set's ``sentences``."""
    landmarks: Float32[np.ndarray, "frame landmark 3"] | None
    """As in `eyehand.types.Episode`; None where the data set has none."""


class Dataset:
    """A data set in the LeRobot v3 layout, of ours or of anyone else.

    Args:
        folder: The folder that holds ``meta``, ``data`` and ``videos``.

    Raises:
        InputError: If the folder is no such data set, is of another version, or has a damaged file.

    Attributes:
        fps: Frames per second.
        cameras: Every image and video feature by short name.
        state_dim: Numbers in a state.
        action_dim: Numbers in an action.
        landmark_dim: Numbers in the landmarks, three a point; 0 where there are none.
        sentences: Every sentence that a robot was told.
        episodes: One row an episode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = _read_info(folder / INFO_PATH)
        features: dict[str, Any] = self.info["features"]
        self.fps = int(self.info["fps"])
        self.cameras = {
            _camera_name(name): _camera(folder, name, feature)
            for name, feature in features.items()
            if feature["dtype"] in ("image", "video")
        }
        self._checked_paths: set[Path] = set()
        self.state_dim = _vector_dim(folder, features, STATE)
        self.action_dim = _vector_dim(folder, features, ACTION)
        self.landmark_dim = _vector_dim(folder, features, LANDMARKS) if LANDMARKS in features else 0
        if self.landmark_dim % 3:
            raise InputError(
                f"feature {LANDMARKS!r} of {folder} has {self.landmark_dim} numbers; three a point "
                "are expected."
            )
        self.sentences = _read_sentences(folder / TASKS_PATH)
        self.episodes = self._read_episodes()

    def __len__(self) -> int:
        """Return the number of frames."""
        return int(self.info["total_frames"])

    @cached_property
    def frames(self) -> Frames:
        """States, actions, times and sentences of every frame, read when first asked for."""
        columns = [STATE, ACTION, "timestamp", "task_index", "index", "episode_index"]
        columns += [LANDMARKS] if self.landmark_dim else []
        places = {row.data.path: row.data for row in self.episodes}
        tables = [read_table(self._checked(place), columns) for place in places.values()]
        table = pa.concat_tables(tables, promote_options="permissive").sort_by("index")
        table = table.slice(0, len(self))
        episode = np.repeat(np.arange(len(self.episodes)), [row.length for row in self.episodes])
        for name, expected in (("index", np.arange(len(self))), ("episode_index", episode)):
            if not np.array_equal(table[name].to_numpy(), expected):
                raise InputError(
                    f"the files of {self.folder / 'data'} do not hold the {len(self)} frames that "
                    f"{INFO_PATH} and the table of episodes promise (column {name!r} differs). "
                    "Restore the data set's files."
                )
        frames = Frames(
            state=self._vectors(table, STATE, self.state_dim),
            action=self._vectors(table, ACTION, self.action_dim),
            timestamp=table["timestamp"].to_numpy().astype(np.float32),
            sentence=table["task_index"].to_numpy().astype(np.int64),
            landmarks=self._vectors(table, LANDMARKS, self.landmark_dim).reshape(len(self), -1, 3)
            if self.landmark_dim
            else None,
        )
        if frames.sentence.min() < 0 or frames.sentence.max() >= len(self.sentences):
            raise InputError(
                f"{self.folder / TASKS_PATH} has {len(self.sentences)} sentences, the frames refer "
                f"to number {frames.sentence.max()}. Restore the data set's files."
            )
        return frames

    def images(
        self, camera: str, *, first: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """Yield the number in the data set of every frame, in order, and its picture.

        Args:
            camera: A name of ``cameras``.
            first: First episode wanted.
            stop: Episode before which to stop.

        Raises:
            InputError: If there is no such camera, or a file is damaged or too short.
        """
        if camera not in self.cameras:
            raise InputError(unknown_name("camera", camera, self.cameras))
        properties = self.cameras[camera]
        expected = (properties.height, properties.width, 3)
        for row in self.episodes[first:stop]:
            place = row.videos[camera] if properties.video else row.data
            path = self._checked(place)
            pictures = (
                decode_video(path, fps=self.fps, start=place.first)
                if properties.video
                else read_pictures(path, properties.feature, first=row.start, count=row.length)
            )
            count = 0
            for number, picture in pictures:
                if number != place.first + count:
                    break
                if picture.shape != expected:
                    raise InputError(
                        f"{path} has pictures of shape {picture.shape} for camera {camera!r}; "
                        f"{INFO_PATH} says {expected}."
                    )
                yield row.start + count, picture
                count += 1
                if count == row.length:
                    break
            if count < row.length:
                raise InputError(
                    f"{path} holds {count} of the {row.length} frames of episode {row.index}: it "
                    "is truncated or altered. Restore the file, or record the data set anew."
                )

    def episode(self, index: int) -> Episode:
        """Read one episode; its instruction is the sentence of its first frame.

        Raises:
            InputError: If there is no such episode, or a file is damaged or too short.
        """
        if not 0 <= index < len(self.episodes):
            raise InputError(
                f"{self.folder} has the episodes 0 to {len(self.episodes) - 1}. Got {index}."
            )
        row = self.episodes[index]
        frames = slice(row.start, row.start + row.length)
        return Episode(
            image={
                name: np.stack([p for _, p in self.images(name, first=index, stop=index + 1)])
                for name in self.cameras
            },
            state=self.frames.state[frames],
            action=self.frames.action[frames],
            instruction=self.sentences[self.frames.sentence[row.start]],
            task=row.task,
            seed=row.seed,
            landmarks=None if self.frames.landmarks is None else self.frames.landmarks[frames],
        )

    def _checked(self, place: Place) -> Path:
        """Return the path of a file after comparing it, once, with the checksum noted for it."""
        path = self.folder / place.path
        if path not in self._checked_paths:
            if not path.is_file():
                raise InputError(f"{path} is missing. Restore the file.")
            if place.checksum is not None and file_checksum(path) != place.checksum:
                raise InputError(
                    f"{path} is not the file that was recorded (its checksum differs): it is "
                    "truncated or altered. Restore the file, or record the data set anew."
                )
            self._checked_paths.add(path)
        return path

    def _read_episodes(self) -> tuple[EpisodeRow, ...]:
        paths = sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
        rows: list[dict[str, Any]] = []
        for path in paths:
            names = open_parquet(path).schema_arrow.names
            wanted = [name for name in names if not name.startswith("stats/")]
            rows += read_table(path, wanted).to_pylist()
        total = int(self.info["total_episodes"])
        rows = sorted(rows, key=lambda row: row["episode_index"])[:total]
        try:
            episodes = tuple(self._episode_row(row) for row in rows)
        except KeyError as error:
            raise InputError(
                f"{self.folder / 'meta/episodes'} has no column {error}; the LeRobot v3.0 layout "
                "asks for it."
            ) from error
        starts = np.cumsum([0, *(row.length for row in episodes)])
        agree = len(rows) == total and starts[-1] == len(self)
        if not agree or any(r.index != i or r.start != starts[i] for i, r in enumerate(episodes)):
            raise InputError(
                f"{self.folder / INFO_PATH} promises {total} episodes with {len(self)} frames; "
                f"the files of meta/episodes have {len(rows)} with {starts[-1]}. One of them is "
                "truncated or altered: restore it."
            )
        if not episodes:
            raise InputError(f"{self.folder} has no episodes.")
        return episodes

    def _episode_row(self, row: Mapping[str, Any]) -> EpisodeRow:
        data = self.info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        videos = {}
        for name, camera in self.cameras.items():
            if camera.video:
                key = camera.feature
                path = self.info["video_path"].format(
                    video_key=key,
                    chunk_index=row[f"videos/{key}/chunk_index"],
                    file_index=row[f"videos/{key}/file_index"],
                )
                first = round(row[f"videos/{key}/from_timestamp"] * self.fps)
                videos[name] = Place(Path(path), first, row.get(CHECKSUM_COLUMN + key))
        return EpisodeRow(
            index=row["episode_index"],
            start=row["dataset_from_index"],
            length=row["length"],
            task=row.get(TASK_COLUMN) or "",
            seed=-1 if (seed := row.get(SEED_COLUMN)) is None else seed,
            data=Place(Path(data), row["dataset_from_index"], row.get(CHECKSUM_COLUMN + "data")),
            videos=videos,
        )

    def _vectors(self, table: pa.Table, name: str, dim: int) -> np.ndarray:
        column = table[name].combine_chunks()
        values = column.flatten() if pa.types.is_nested(column.type) else column
        if not pa.types.is_floating(values.type) or len(values) != len(table) * dim:
            raise InputError(
                f"feature {name!r} of {self.folder / 'data'} holds {column.type}; "
                f"{dim} floating-point numbers a frame are expected."
            )
        vectors = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            frame = int(np.argmin(finite))
            episode = table["episode_index"][frame].as_py()
            raise InputError(
                f"feature {name!r} of {self.folder} has {vectors[frame].tolist()} in episode "
                f"{episode}, frame {frame - self.episodes[episode].start}: every number must be "
                "finite. Remove or mend the episode."
            )
        return vectors


def _read_info(path: Path) -> dict[str, Any]:
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


def _vector_dim(folder: Path, features: Mapping[str, Any], name: str) -> int:
    if name not in features:
        raise InputError(
            f"{folder} has no feature {name!r}; it has: {', '.join(features)}. Policies here read "
            f"{STATE!r} and {ACTION!r}."
        )
    shape = features[name]["shape"]
    if len(shape) != 1:
        raise InputError(f"feature {name!r} of {folder} has shape {shape}; one axis is expected.")
    return int(shape[0])


def _read_sentences(path: Path) -> tuple[str, ...]:
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
