"""Writes the LeRobot v3.0 data set layout; killed at any moment, it loses the episode in flight.

How: every episode that is added becomes one folder ``.pending/000012`` at once, written under
another name and renamed when whole. When the pending films reach ``video_file_megabytes``, or at
`DatasetWriter.close`, they become one numbered video file a camera, one data file and one file of
the episode table, each again written under another name and renamed, and last of all
``meta/info.json`` with the new totals. That one rename is the moment at which the episodes are part
of the data set: readers go by the totals, and a writer that opens the folder again writes over
whatever lies beyond them and deletes pending episodes that the totals count already. So an episode
is never lost, never there twice, and which file it lands in does not depend on interruptions.
"""

import fcntl
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyehand.data.encoding import EncodedEpisode, encode_episode
from eyehand.data.lerobot import (
    ACTION,
    CHECKSUM_COLUMN,
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    LANDMARKS,
    SEED_COLUMN,
    STATE,
    STATISTICS_PATH,
    TASK_COLUMN,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    Dataset,
    Frames,
)
from eyehand.data.parquet import (
    column_to_matrix,
    sentence_table,
    vectors_to_column,
    write_atomically,
    write_json,
    write_parquet,
)
from eyehand.data.statistics import combine_descriptions, describe
from eyehand.data.video import KEY_FRAME_EVERY, file_checksum, join_videos
from eyehand.types import Episode, InputError

CHUNK_FILES = 1000
"""Files in a chunk folder."""
_PENDING = ".pending"


@dataclass(frozen=True)
class Recorded:
    """An episode that a data set has."""

    task: str
    """Name of the task in its suite."""
    seed: int
    """Seed of the start state."""
    length: int
    """Frames."""


class DatasetWriter:
    """Adds episodes to a data set, new or begun before; see the module for what a kill leaves.

    Args:
        folder: The data set's folder.
        fps: Frames per second.
        image_shapes: Height and width per camera, pixels.
        state_dim: Numbers in a state.
        action_dim: Numbers in an action.
        robot: Name of the robot.
        landmarks: Names of the points whose places in the picture are kept beside each frame.
        video_file_megabytes: Size at which a video file is full.

    Raises:
        InputError: If the folder holds a data set with other features, or another process writes.

    Example:
        >>> import tempfile
        >>> from eyehand.data.lerobot import Dataset
        >>> still = np.zeros((5, 16, 16, 3), np.uint8)
        >>> numbers = np.zeros((5, 4), np.float32)
        >>> episode = Episode({"top": still}, numbers, numbers, "Wait.", task="wait", seed=0)
        >>> with tempfile.TemporaryDirectory() as name:
        ...     with DatasetWriter(
        ...         Path(name), fps=80, image_shapes={"top": (16, 16)}, state_dim=4, action_dim=4,
        ...         robot="none",
        ...     ) as writer:
        ...         writer.add(episode)
        ...     Dataset(Path(name)).episode(0).instruction
        'Wait.'
    """

    def __init__(
        self,
        folder: Path,
        *,
        fps: int,
        image_shapes: Mapping[str, tuple[int, int]],
        state_dim: int,
        action_dim: int,
        robot: str,
        landmarks: Sequence[str] = (),
        video_file_megabytes: float = 50.0,
    ) -> None:
        self.folder = folder
        self._fps = fps
        self._shapes = dict(image_shapes)
        self._dims = (state_dim, action_dim, 3 * len(landmarks))
        self._landmarks = landmarks
        self._robot = robot
        self._megabytes = video_file_megabytes
        (folder / _PENDING).mkdir(parents=True, exist_ok=True)
        self._lock = (folder / _PENDING / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InputError(f"another process is recording into {folder}; wait for it.") from None
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    @property
    def recorded(self) -> tuple[Recorded, ...]:
        """Every episode that is safe on the disk, in order."""
        return tuple(self._recorded)

    def add(self, episode: Episode) -> None:
        """Add one episode.

        Raises:
            InputError: If it is empty, has a number that is not finite, or other features.
        """
        self.add_encoded(encode_episode(episode, fps=self._fps))

    def add_encoded(self, episode: EncodedEpisode) -> None:
        """Add one episode that `encode_episode` prepared, perhaps in another process.

        Raises:
            InputError: If it has other features than the data set.
        """
        points = 0 if episode.landmarks is None else episode.landmarks.shape[1]
        dims = (episode.state.shape[1], episode.action.shape[1], 3 * points)
        found = (dict(episode.shape), dims)
        if found != (self._shapes, self._dims):
            raise InputError(
                f"the episode of task {episode.task!r} with seed {episode.seed} has pictures, and "
                f"numbers in state, action and landmarks, of {found}; {self.folder} is for "
                f"{(self._shapes, self._dims)}."
            )
        new = self.folder / _PENDING / "new"
        new.mkdir()
        for camera, film in episode.film.items():
            (new / f"{camera}.mp4").write_bytes(film)
        np.save(new / "state.npy", episode.state)
        np.save(new / "action.npy", episode.action)
        if episode.landmarks is not None:
            np.save(new / "landmarks.npy", episode.landmarks.reshape(len(episode.state), -1))
        description = {
            "instruction": episode.instruction,
            "task": episode.task,
            "seed": episode.seed,
            "length": len(episode.state),
            "image_statistics": {k: dict(v) for k, v in episode.image_statistics.items()},
        }
        (new / "episode.json").write_text(json.dumps(description))
        new.rename(self.folder / _PENDING / f"{len(self._recorded):06d}")
        self._recorded.append(Recorded(episode.task, episode.seed, len(episode.state)))
        self._pending_bytes += max(map(len, episode.film.values()), default=0)
        self._commit_if_full()

    def close(self) -> None:
        """Make what is pending part of the data set, and compute the statistics."""
        try:
            if self._pending_paths():
                self._commit()
            if (self.folder / INFO_PATH).is_file():
                self._write_statistics()
        finally:
            self._lock.close()

    def __enter__(self) -> "DatasetWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an exception leave pending episodes for the writer that goes on."""
        if error is None:
            self.close()
        else:
            self._lock.close()

    def _open(self) -> None:
        for leftover in (*self.folder.rglob("*.new"), self.folder / _PENDING / "new"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        self._recorded: list[Recorded] = []
        self._sentences: dict[str, int] = {}
        self._frames = 0
        self._files = 0
        if (self.folder / INFO_PATH).is_file():
            dataset = Dataset(self.folder)
            shapes = {name: (c.height, c.width) for name, c in dataset.cameras.items()}
            dims = (dataset.state_dim, dataset.action_dim, dataset.landmark_dim)
            found = (dataset.fps, shapes, dims)
            wanted = (self._fps, self._shapes, self._dims)
            if found != wanted:
                raise InputError(
                    f"{self.folder} holds a data set with frames per second, pictures, and numbers "
                    f"in state, action and landmarks, of {found}; the recording "
                    f"has {wanted}. Name another folder."
                )
            self._recorded = [Recorded(r.task, r.seed, r.length) for r in dataset.episodes]
            self._sentences = {s: number for number, s in enumerate(dataset.sentences)}
            self._frames = len(dataset)
            last = dataset.episodes[-1].data.path
            self._files = 1 + next(n for n in range(10**6) if Path(_numbered(DATA_PATH, n)) == last)
        self._pending_bytes = 0
        for path in self._pending_paths():
            if int(path.name) < len(self._recorded):
                shutil.rmtree(path)
                continue
            description = json.loads((path / "episode.json").read_bytes())
            self._recorded.append(
                Recorded(description["task"], description["seed"], description["length"])
            )
            sizes = [film.stat().st_size for film in path.glob("*.mp4")]
            self._pending_bytes += max(sizes, default=0)
        self._commit_if_full()  # a kill may have come between the last episode and this

    def _commit_if_full(self) -> None:
        if self._pending_bytes >= self._megabytes * 1e6:
            self._commit()

    def _pending_paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PENDING}/[0-9]*"))

    def _commit(self) -> None:
        """Make the pending episodes one more file of each kind, ``meta/info.json`` last."""
        paths = self._pending_paths()
        descriptions = [json.loads((path / "episode.json").read_bytes()) for path in paths]
        for description in descriptions:
            self._sentences.setdefault(description["instruction"], len(self._sentences))
        checksums = {}
        for camera in self._shapes:
            films = [(path / f"{camera}.mp4").read_bytes() for path in paths]
            video = self.folder / self._numbered_video(camera)
            write_atomically(video, partial(join_videos, films, fps=self._fps))
            checksums[_feature(camera)] = file_checksum(video)
        first = len(self._recorded) - len(paths)
        tables = []
        start = self._frames
        for number, (path, description) in enumerate(zip(paths, descriptions, strict=True), first):
            sentence = self._sentences[description["instruction"]]
            tables.append(_frame_table(path, number, start, sentence, self._fps))
            start += description["length"]
        data = self.folder / _numbered(DATA_PATH, self._files)
        write_parquet(data, pa.concat_tables(tables))
        checksums["data"] = file_checksum(data)
        write_parquet(self.folder / TASKS_PATH, sentence_table(list(self._sentences)))
        rows = self._episode_rows(first, descriptions, tables, checksums)
        write_parquet(
            self.folder / _numbered(EPISODES_PATH, self._files), pa.Table.from_pylist(rows)
        )
        self._frames = start
        self._files += 1
        write_json(self.folder / INFO_PATH, self._info())  # from here on they are in
        for path in paths:
            shutil.rmtree(path)
        self._pending_bytes = 0

    def _numbered_video(self, camera: str) -> str:
        return _numbered(VIDEO_PATH, self._files, video_key=_feature(camera))

    def _episode_rows(
        self,
        first: int,
        descriptions: Sequence[Mapping[str, Any]],
        tables: Sequence[pa.Table],
        checksums: Mapping[str, int],
    ) -> list[dict[str, Any]]:
        chunk, file = divmod(self._files, CHUNK_FILES)
        rows = []
        start, seconds = self._frames, 0
        for number, (description, table) in enumerate(
            zip(descriptions, tables, strict=True), first
        ):
            length = description["length"]
            row = {
                "episode_index": number,
                "tasks": [description["instruction"]],
                "length": length,
                "dataset_from_index": start,
                "dataset_to_index": start + length,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "meta/episodes/chunk_index": chunk,
                "meta/episodes/file_index": file,
                TASK_COLUMN: description["task"],
                SEED_COLUMN: description["seed"],
            }
            for camera in self._shapes:
                key = f"videos/{_feature(camera)}"
                row |= {
                    f"{key}/chunk_index": chunk,
                    f"{key}/file_index": file,
                    f"{key}/from_timestamp": seconds / self._fps,
                    f"{key}/to_timestamp": (seconds + length) / self._fps,
                }
            row |= {CHECKSUM_COLUMN + name: checksum for name, checksum in checksums.items()}
            features = {
                name: describe(column_to_matrix(table[name])) for name in table.column_names
            }
            for camera, statistics in description["image_statistics"].items():
                features[_feature(camera)] = statistics
            for name, statistics in features.items():
                row |= {f"stats/{name}/{key}": value for key, value in statistics.items()}
            rows.append(row)
            start += length
            seconds += length
        return rows

    def _info(self) -> dict[str, Any]:
        state_dim, action_dim, landmark_dim = self._dims
        scalars = {"timestamp": "float32"} | dict.fromkeys(
            ("frame_index", "episode_index", "index", "task_index"), "int64"
        )
        features: dict[str, Any] = {
            STATE: {"dtype": "float32", "shape": [state_dim], "names": None},
            ACTION: {"dtype": "float32", "shape": [action_dim], "names": None},
        }
        if landmark_dim:
            names = [f"{name} {part}" for name in self._landmarks for part in ("x", "y", "far")]
            features[LANDMARKS] = {"dtype": "float32", "shape": [landmark_dim], "names": names}
        for camera, (height, width) in self._shapes.items():
            features[_feature(camera)] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": "h264",
                    "video.pix_fmt": "gbrp",
                    "video.is_depth_map": False,
                    "video.fps": self._fps,
                    "video.channels": 3,
                    "video.g": KEY_FRAME_EVERY,
                    "has_audio": False,
                },
            }
        for name, dtype in scalars.items():
            features[name] = {"dtype": dtype, "shape": [1], "names": None}
        return {
            "codebase_version": VERSION,
            "robot_type": self._robot,
            "total_episodes": len(self._recorded),
            "total_frames": self._frames,
            "total_tasks": len(self._sentences),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": max(1, round(self._megabytes)),
            "video_files_size_in_mb": max(1, round(self._megabytes)),
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._recorded)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._shapes else None,
            "features": features,
        }

    def _write_statistics(self) -> None:
        dataset = Dataset(self.folder)
        frames: Frames = dataset.frames
        length = np.array([row.length for row in dataset.episodes])
        episode = np.repeat(np.arange(len(length)), length)
        index = np.arange(len(dataset))
        features = {
            STATE: frames.state,
            ACTION: frames.action,
            "timestamp": frames.timestamp[:, None],
            "frame_index": (index - np.repeat(length.cumsum() - length, length))[:, None],
            "episode_index": episode[:, None],
            "index": index[:, None],
            "task_index": frames.sentence[:, None],
        }
        if frames.landmarks is not None:
            features[LANDMARKS] = frames.landmarks.reshape(len(dataset), -1)
        statistics = {name: describe(values.astype(float)) for name, values in features.items()}
        rows = [
            row
            for path in sorted(self.folder.glob("meta/episodes/*/*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        for camera in self._shapes:
            prefix = f"stats/{_feature(camera)}/"
            parts = [
                {key.removeprefix(prefix): v for key, v in row.items() if key.startswith(prefix)}
                for row in rows[: len(dataset.episodes)]
            ]
            statistics[_feature(camera)] = combine_descriptions(parts)
        write_json(self.folder / STATISTICS_PATH, statistics)


def _feature(camera: str) -> str:
    return f"observation.images.{camera}"


def _numbered(template: str, file: int, **names: str) -> str:
    chunk, file = divmod(file, CHUNK_FILES)
    return template.format(chunk_index=chunk, file_index=file, **names)


def _frame_table(path: Path, episode: int, start: int, sentence: int, fps: int) -> pa.Table:
    """Return the rows of one pending episode."""
    state = np.load(path / "state.npy", allow_pickle=False)
    action = np.load(path / "action.npy", allow_pickle=False)
    number = np.arange(len(state))
    columns = {STATE: vectors_to_column(state), ACTION: vectors_to_column(action)}
    if (path / "landmarks.npy").is_file():
        landmarks = np.load(path / "landmarks.npy", allow_pickle=False)
        columns[LANDMARKS] = vectors_to_column(landmarks)
    return pa.table(columns | {
        "timestamp": pa.array((number / fps).astype(np.float32)),
        "frame_index": pa.array(number),
        "episode_index": pa.array(np.full(len(state), episode)),
        "index": pa.array(start + number),
        "task_index": pa.array(np.full(len(state), sentence)),
    })  # fmt: skip
