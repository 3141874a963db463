"""Writes the LeRobot v3.0 data set layout; killed at any moment, it loses the episode in flight.

How: every episode that is added becomes one folder ``.pending/000012`` at once
(`eyehand.data.pending`). When the pending
films reach ``video_file_megabytes``, or at `DatasetWriter.close`, they become one numbered video
file a camera, one data file and one file of the episode table, and last of all ``meta/info.json``
with the new totals. `eyehand.files` puts each in its place as a whole. The moment at which
``info.json`` is replaced is the one at which the episodes are part of the data set: readers go by
the totals, and a writer that opens the folder again writes over whatever lies beyond them and
deletes pending episodes that the totals count already. So an episode is never lost, never there
twice, and which file it lands in does not depend on interruptions.
"""

import fcntl
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyehand.checksums import file_checksum, write_json
from eyehand.data.columns import (
    ACTION_MASK,
    COUNTERS,
    Column,
    as_stored,
    check_names,
    column_of,
    feature_name,
    to_feature,
)
from eyehand.data.encoding import EncodedEpisode, encode_episode
from eyehand.data.layout import (
    CHECKSUM_COLUMN,
    CHUNK_FILES,
    DATA_PATH,
    EPISODES_PATH,
    FILE_CHECKSUMS,
    INFO_PATH,
    SEED_COLUMN,
    STATISTICS_PATH,
    TASK_COLUMN,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    camera_feature,
    numbered,
)
from eyehand.data.lerobot import Dataset
from eyehand.data.parquet import array_to_column, sentence_table, write_parquet
from eyehand.data.paths import check_name, inside
from eyehand.data.pending import PendingEpisode, read_pending, write_pending
from eyehand.data.statistics import describe, describe_dataset
from eyehand.data.video import join_videos
from eyehand.files import remove, replace_text, replacing
from eyehand.types import Episode, InputError

_PENDING = ".pending"
_LOGGER = logging.getLogger(__name__)


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
        state_dim: Numbers in a state; 0 where there is none.
        action_dim: Numbers in an action; 0 where there is none.
        robot: Name of the robot.
        columns: What else is kept of every frame, by name. An episode gives all of them, except
            that one without ``action_mask`` is taken to be True everywhere.
        video_file_megabytes: Size at which a video file is full.

    Raises:
        InputError: If the folder holds a data set with other features or a damaged one, another
            process writes, a column has a name that means something else, or a name is none.

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
        columns: Mapping[str, Column] | None = None,
        video_file_megabytes: float = 50.0,
    ) -> None:
        self.folder = folder
        self._fps = fps
        self._shapes = dict(image_shapes)
        self._dims = {"state": state_dim, "action": action_dim}
        self._vectors = [name for name, dim in self._dims.items() if dim]
        self._columns = dict(columns or {})
        check_names(self._columns)
        for kind, names in (("camera", self._shapes), ("column", self._columns)):
            for name in names:
                check_name(name, kind, folder)
        self._robot = robot
        self._megabytes = video_file_megabytes
        self._lock = self._place(f"{_PENDING}/lock").open("w")
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
        arrays = {"state": episode.state, "action": episode.action, **episode.columns}
        if ACTION_MASK in self._columns:
            arrays.setdefault(ACTION_MASK, np.ones(len(episode.state), bool))
        dims = {name: arrays[name].shape[1] for name in self._dims}
        columns = {name: column_of(arrays[name]) for name in list(arrays)[2:]}
        found = _kind(episode.shape, dims, columns)
        wanted = _kind(self._shapes, self._dims, self._columns)
        if found != wanted:
            raise InputError(
                f"the episode of task {episode.task!r} with seed {episode.seed} has {found}; "
                f"{self.folder} is for {wanted}."
            )
        place = self._place(f"{_PENDING}/{len(self._recorded):06d}")
        self._pending.append(write_pending(place, episode, arrays))
        self._recorded.append(Recorded(episode.task, episode.seed, len(episode.state)))
        self._pending_bytes += max(map(len, episode.film.values()), default=0)
        self._commit_if_full()

    def close(self) -> None:
        """Make what is pending part of the data set, and compute the statistics."""
        try:
            if self._pending:
                self._commit()
            if self._info:
                self._write_statistics()
        finally:
            self._lock.close()

    def __enter__(self) -> "DatasetWriter":
        """Return the writer."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close; after an exception leave pending episodes for the writer that goes on."""
        if raised[0] is None:
            self.close()
        else:
            self._lock.close()

    def _open(self) -> None:
        self._recorded: list[Recorded] = []
        self._pending: list[PendingEpisode] = []
        self._pending_bytes = 0
        self._sentences: dict[str, int] = {}
        self._frames = 0
        self._files = 0
        self._info: dict[str, Any] = {}
        self._checksums: dict[str, list[int]] = {}
        if (self.folder / INFO_PATH).is_file():
            dataset = Dataset(self.folder)
            dataset.check_files()
            shapes = {name: (c.height, c.width) for name, c in dataset.cameras.items()}
            dims = {"state": dataset.state_dim, "action": dataset.action_dim}
            found = {"fps": dataset.fps} | _kind(shapes, dims, dataset.columns)
            wanted = {"fps": self._fps} | _kind(self._shapes, self._dims, self._columns)
            if found != wanted:
                raise InputError(
                    f"{self.folder} holds a data set with {found}; the recording has {wanted}. "
                    "Name another folder."
                )
            self._recorded = [Recorded(r.task, r.seed, r.length) for r in dataset.episodes]
            self._sentences = {s: number for number, s in enumerate(dataset.sentences)}
            self._frames = len(dataset)
            self._files = 1 + self._last_file(dataset)
            self._info = dataset.info
            for path in (TASKS_PATH, *dict.fromkeys(row.table for row in dataset.episodes)):
                self._checksums[path] = [file_checksum(self.folder / path)]
        self._open_pending()
        self._commit_if_full()  # a kill may have come between the last episode and this

    def _last_file(self, dataset: Dataset) -> int:
        """Return the number of the files that the last episode lies in."""
        last = dataset.episodes[-1]
        found = re.fullmatch(r".*/chunk-(\d{3,6})/file-(\d{3})\.parquet", last.table)
        number = CHUNK_FILES * int(found[1]) + int(found[2]) if found else 0
        files = {EPISODES_PATH: last.table, DATA_PATH: str(last.data.path)} | {
            VIDEO_PATH.replace("{video_key}", _feature(camera)): str(
                last.videos.get(camera, last.data).path
            )
            for camera in self._shapes
        }
        if any(numbered(template, number) != path for template, path in files.items()):
            raise InputError(
                f"the last episode of {self.folder} lies in {', '.join(files.values())}, which "
                "eyehand would have numbered alike: another program wrote it. Name another folder."
            )
        return number

    def _open_pending(self) -> None:
        """Take over the pending episodes before the first that is damaged; drop the others."""
        paths = sorted(self.folder.glob(f"{_PENDING}/" + "[0-9]" * 6))
        for place, path in enumerate(paths):
            if int(path.name) < len(self._recorded) and not self._pending:
                remove(path)  # the totals count it already
                continue
            try:
                if int(path.name) != len(self._recorded):
                    raise InputError(f"{path} has none before it.")
                episode = read_pending(inside(self.folder, path.relative_to(self.folder)))
                episode.check()
            except InputError as error:
                for dropped in reversed(paths[place:]):
                    remove(dropped)
                _LOGGER.warning(
                    "%s Pending episodes from number %d on, %d in all, are dropped.",
                    error, int(path.name), len(paths) - place,
                )  # fmt: skip
                return
            self._pending.append(episode)
            self._pending_bytes += episode.film_size
            self._recorded.append(Recorded(episode.task, episode.seed, episode.length))

    def _commit_if_full(self) -> None:
        if self._pending_bytes >= self._megabytes * 1e6:
            self._commit()

    def _place(self, path: str) -> Path:
        """Return where a file of the data set goes; its folder is made."""
        place = inside(self.folder, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _commit(self) -> None:
        """Make the pending episodes one more file of each kind, ``meta/info.json`` last."""
        pending = self._pending
        for episode in pending:
            self._sentences.setdefault(episode.instruction, len(self._sentences))
        checksums = {}
        for camera in self._shapes:
            video = self._place(numbered(VIDEO_PATH, self._files, video_key=_feature(camera)))
            films = [episode.film(camera) for episode in pending]
            with replacing(video) as beside:
                join_videos(films, beside, fps=self._fps)
            checksums[_feature(camera)] = file_checksum(video)
        first = len(self._recorded) - len(pending)
        arrays = []
        start = self._frames
        for number, episode in enumerate(pending, first):
            sentence = self._sentences[episode.instruction]
            arrays.append(self._features_of(episode, number, start, sentence))
            start += episode.length
        data = self._place(numbered(DATA_PATH, self._files))
        tables = [pa.table({name: array_to_column(v) for name, v in a.items()}) for a in arrays]
        write_parquet(data, pa.concat_tables(tables))
        checksums["data"] = file_checksum(data)
        self._replace_sentences()
        rows = self._episode_rows(first, arrays, checksums)
        table = numbered(EPISODES_PATH, self._files)
        write_parquet(self._place(table), pa.Table.from_pylist(rows))
        self._checksums[table] = [file_checksum(self.folder / table)]
        self._checksums.pop(STATISTICS_PATH, None)  # they are of fewer frames
        self._frames = start
        self._files += 1
        self._write_info(self._described())  # from here on they are in
        for episode in pending:
            remove(episode.path)
        self._pending, self._pending_bytes = [], 0

    def _replace_sentences(self) -> None:
        """Write the file of sentences, a longer one each time; its new checksum is noted before."""
        with replacing(self._place(TASKS_PATH)) as beside:
            pq.write_table(sentence_table(list(self._sentences)), beside, compression="snappy")
            new = file_checksum(beside)
            if self._info:
                noted = self._checksums | {TASKS_PATH: [*self._checksums[TASKS_PATH], new]}
                self._write_info(self._info | {FILE_CHECKSUMS: noted})
        self._checksums[TASKS_PATH] = [new]

    def _write_info(self, info: dict[str, Any]) -> None:
        write_json(self._place(INFO_PATH), info)
        self._info = info

    def _features_of(
        self, pending: PendingEpisode, episode: int, start: int, sentence: int
    ) -> dict[str, np.ndarray]:
        """Return the numbers of one pending episode by the name of their feature."""
        arrays = {
            feature_name(name): as_stored(name, pending.numbers(name))
            for name in (*self._vectors, *self._columns)
        }
        length = pending.length
        number = np.arange(length)
        return arrays | {
            "timestamp": (number / self._fps).astype(np.float32),
            "frame_index": number,
            "episode_index": np.full(length, episode),
            "index": start + number,
            "task_index": np.full(length, sentence),
        }

    def _episode_rows(
        self,
        first: int,
        arrays: Sequence[Mapping[str, np.ndarray]],
        checksums: Mapping[str, int],
    ) -> list[dict[str, Any]]:
        chunk, file = divmod(self._files, CHUNK_FILES)
        rows = []
        start, seconds = self._frames, 0
        for number, (pending, numbers) in enumerate(zip(self._pending, arrays, strict=True), first):
            length = pending.length
            row = {
                "episode_index": number,
                "tasks": [pending.instruction],
                "length": length,
                "dataset_from_index": start,
                "dataset_to_index": start + length,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "meta/episodes/chunk_index": chunk,
                "meta/episodes/file_index": file,
                TASK_COLUMN: pending.task,
                SEED_COLUMN: pending.seed,
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
            features: dict[str, Mapping[str, Any]] = {
                name: describe(values) for name, values in numbers.items()
            }
            for camera, statistics in pending.image_statistics.items():
                features[_feature(camera)] = statistics
            for name, statistics in features.items():
                row |= {f"stats/{name}/{key}": value for key, value in statistics.items()}
            rows.append(row)
            start += length
            seconds += length
        return rows

    def _described(self) -> dict[str, Any]:
        dims = {name: self._dims[name] for name in self._vectors}
        vectors = {name: Column(shape=(dim,) if dim > 1 else ()) for name, dim in dims.items()}
        columns = vectors | self._columns | {name: Column(kind) for name, kind in COUNTERS.items()}
        features = {
            feature_name(name): to_feature(name, column) for name, column in columns.items()
        }
        for camera, size in self._shapes.items():
            features[_feature(camera)] = camera_feature(size, fps=self._fps)
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
            FILE_CHECKSUMS: dict(sorted(self._checksums.items())),
        }

    def _write_statistics(self) -> None:
        statistics = describe_dataset(Dataset(self.folder))
        path = self._place(STATISTICS_PATH)
        replace_text(path, json.dumps(statistics, indent=2))
        self._checksums[STATISTICS_PATH] = [file_checksum(path)]
        self._write_info(self._described())


def _feature(camera: str) -> str:
    return f"observation.images.{camera}"


def _kind(
    shapes: Mapping[str, tuple[int, int]], dims: Mapping[str, int], columns: Mapping[str, Column]
) -> dict[str, Any]:
    """Return what all episodes of a data set have in common, for comparing and for sentences."""
    return {
        "pictures": {name: tuple(size) for name, size in shapes.items()},
        **dims,
        "columns": {name: str(columns[name]) for name in sorted(columns)},
    }
