"""Reads data sets in the LeRobot v3.0 layout, which `eyehand.data.layout` describes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64, Shaped, UInt8

from eyehand.data.columns import (
    ACTION,
    ACTION_MASK,
    LANDMARKS,
    STATE,
    columns_from_features,
    feature_name,
)
from eyehand.data.layout import (
    CHECKSUM_COLUMN,
    FILE_CHECKSUMS,
    INFO_PATH,
    MOST_FRAMES,
    SEED_COLUMN,
    TASK_COLUMN,
    TASKS_PATH,
    EpisodeFile,
    EpisodeRow,
    cameras_from_features,
    checked_file,
    read_info,
    read_sentences,
    whole_number,
)
from eyehand.data.parquet import (
    damage_named,
    flat_numbers,
    open_parquet,
    read_pictures,
    read_table,
)
from eyehand.data.video import decode_video
from eyehand.functional.names import unknown_name
from eyehand.types import Episode, InputError


@dataclass(frozen=True)
class Frames:
    """The numbers and sentences of every frame, in order."""

    state: Float32[np.ndarray, "frame state"]
    """Without numbers where the data set has no state."""
    action: Float32[np.ndarray, "frame action"]
    """Without numbers where the data set has no action."""
    timestamp: Float32[np.ndarray, " frame"]
    """Seconds since the episode's first frame."""
    sentence: Int64[np.ndarray, " frame"]
    """Index into the data set's ``sentences``."""
    columns: Mapping[str, Shaped[np.ndarray, "frame ..."]]
    """Whatever else the data set has of every frame, by name."""


class Dataset:
    """A data set in the LeRobot v3 layout, of ours or of anyone else.

    Args:
        folder: The folder that holds ``meta``, ``data`` and ``videos``.

    Raises:
        InputError: If the folder is no such data set, is of another version, or has a damaged file.

    Attributes:
        fps: Frames per second.
        cameras: Every image and video feature by short name.
        state_dim: Numbers in a state; 0 where there is none.
        action_dim: Numbers in an action; 0 where there is none.
        columns: What else there is of every frame, by name; see `eyehand.data.columns`.
        sentences: Every sentence that a robot was told.
        episodes: One row an episode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = read_info(folder)
        features: dict[str, Any] = self.info["features"]
        self.fps: int = self.info["fps"]
        self.cameras = cameras_from_features(folder, features)
        self._checked_paths: dict[Path, Path] = {}
        self.state_dim = _vector_dim(folder, features, STATE)
        self.action_dim = _vector_dim(folder, features, ACTION)
        self.columns = columns_from_features(folder, features)
        self.sentences = read_sentences(self.small_file(TASKS_PATH))
        self.episodes = self._read_episodes()

    def __len__(self) -> int:
        """Return the number of frames."""
        total: int = self.info["total_frames"]
        return total

    @cached_property
    def frames(self) -> Frames:
        """The numbers and sentences of every frame, read when first asked for."""
        columns = ["timestamp", "task_index", "index", "episode_index"]
        columns += [STATE] * (self.state_dim > 0) + [ACTION] * (self.action_dim > 0)
        columns += map(feature_name, self.columns)
        places = {row.data.path: row.data for row in self.episodes}
        tables = [read_table(self._checked(place), columns) for place in places.values()]
        with damage_named(self.folder / "data"):
            table = pa.concat_tables(tables, promote_options="permissive").sort_by("index")
            table = table.slice(0, len(self))
            self._check_order(table)
            frames = Frames(
                state=self._vectors(table, STATE, self.state_dim),
                action=self._vectors(table, ACTION, self.action_dim),
                timestamp=table["timestamp"].to_numpy().astype(np.float32),
                sentence=table["task_index"].to_numpy().astype(np.int64),
                columns={name: self._column(table, name) for name in self.columns},
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
        columns = {name: values[frames] for name, values in self.frames.columns.items()}
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
            landmarks=columns.pop(LANDMARKS, None),
            action_mask=columns.pop(ACTION_MASK, None),
            columns=columns,
        )

    def small_file(self, path: str) -> Path:
        """Return where a file of ``meta`` lies after comparing it with the checksum noted for it.

        Raises:
            InputError: If it is missing or damaged.
        """
        return checked_file(self.folder, path, self.info.get(FILE_CHECKSUMS, {}).get(path))

    def check_files(self) -> None:
        """Compare every file with the checksum noted for it, as reading it does.

        Raises:
            InputError: If one is missing or damaged.
        """
        for row in self.episodes:
            for file in (row.data, *row.videos.values()):
                self._checked(file)

    def _checked(self, file: EpisodeFile) -> Path:
        """Return the path of a file after comparing it, once, with the checksum noted for it."""
        if file.path not in self._checked_paths:
            noted = None if file.checksum is None else [file.checksum]
            self._checked_paths[file.path] = checked_file(self.folder, file.path, noted)
        return self._checked_paths[file.path]

    def _check_order(self, table: pa.Table) -> None:
        """Refuse data files with other frames than the totals and the table of episodes say."""
        wrong = "number of rows"
        if len(table) == len(self):  # else nothing of the promised size is made
            count = [row.length for row in self.episodes]
            episode = np.repeat(np.arange(len(self.episodes)), count)
            expected = {"index": np.arange(len(self)), "episode_index": episode}
            differ = (n for n, v in expected.items() if not np.array_equal(table[n].to_numpy(), v))
            wrong = next((f"column {name!r}" for name in differ), "")
        if wrong:
            raise InputError(
                f"the files of {self.folder / 'data'} do not hold the {len(self)} frames that "
                f"{INFO_PATH} and the table of episodes promise ({wrong} differs). Restore the "
                "data set's files."
            )

    def _read_episodes(self) -> tuple[EpisodeRow, ...]:
        episodes: list[EpisodeRow] = []
        for file in sorted((self.folder / "meta/episodes").glob("*/*.parquet")):
            table = str(file.relative_to(self.folder))
            path = self.small_file(table)
            names = open_parquet(path).schema_arrow.names
            wanted = [name for name in names if not name.startswith("stats/")]
            with damage_named(path):
                rows = read_table(path, wanted).to_pylist()
            try:
                episodes += (self._episode_row(row, table) for row in rows)
            except KeyError as error:
                raise InputError(
                    f"{path} has no column {error}; the LeRobot v3.0 layout asks for it."
                ) from error
        total = self.info["total_episodes"]
        episodes = sorted(episodes, key=lambda row: row.index)[:total]
        starts = list(accumulate((row.length for row in episodes), initial=0))
        agree = len(episodes) == total and starts[-1] == len(self)
        if not agree or any(r.index != i or r.start != starts[i] for i, r in enumerate(episodes)):
            raise InputError(
                f"{self.folder / INFO_PATH} promises {total} episodes with {len(self)} frames; "
                f"the files of meta/episodes have {len(episodes)} with {starts[-1]}. One of them "
                "is truncated or altered: restore it."
            )
        if not episodes:
            raise InputError(f"{self.folder} has no episodes.")
        return tuple(episodes)

    def _episode_row(self, row: Mapping[str, Any], table: str) -> EpisodeRow:
        def number(name: str, least: int = 0) -> int:
            what = f"column {name!r} of {self.folder / table}"
            return whole_number(row[name], least, MOST_FRAMES, what)

        def path(template: str, kind: str, **names: str) -> Path:
            numbers = {f"{n}_index": number(f"{kind}/{n}_index") for n in ("chunk", "file")}
            return Path(template.format(**numbers, **names))

        start = number("dataset_from_index")
        videos = {}
        for name, camera in self.cameras.items():
            if camera.video:
                key = camera.feature
                seconds = row[f"videos/{key}/from_timestamp"]
                frame = seconds * self.fps if isinstance(seconds, int | float) else math.nan
                if not 0 <= frame <= MOST_FRAMES:
                    raise InputError(
                        f"column 'videos/{key}/from_timestamp' of {self.folder / table} has "
                        f"{seconds}, which is no time of a frame."
                    )
                videos[name] = EpisodeFile(
                    path(self.info["video_path"], f"videos/{key}", video_key=key),
                    round(frame),
                    row.get(CHECKSUM_COLUMN + key),
                )
        data = path(self.info["data_path"], "data")
        return EpisodeRow(
            table=table,
            index=number("episode_index"),
            start=start,
            length=number("length", 1),
            task=str(row.get(TASK_COLUMN) or ""),
            seed=-1 if (seed := row.get(SEED_COLUMN)) is None else seed,
            data=EpisodeFile(data, start, row.get(CHECKSUM_COLUMN + "data")),
            videos=videos,
        )

    def _vectors(self, table: pa.Table, name: str, dim: int) -> Float32[np.ndarray, "frame _"]:
        if dim == 0:
            return np.zeros((len(table), 0), np.float32)
        vectors = self._numbers(table, name, dim, "floating-point").astype(np.float32)
        self.check_finite(name, vectors)
        return vectors

    def _column(self, table: pa.Table, name: str) -> Shaped[np.ndarray, "frame ..."]:
        """Return one named column.

        It may hold numbers that are not finite, which nobody may ever ask for; of landmarks all are
        used.
        """
        column, feature = self.columns[name], feature_name(name)
        numbers = self._numbers(table, feature, column.size, column.dtype).astype(column.dtype)
        if name == LANDMARKS:
            self.check_finite(feature, numbers)
        return numbers.reshape(len(table), *column.shape)

    def _numbers(
        self, table: pa.Table, feature: str, size: int, wanted: str
    ) -> Shaped[np.ndarray, "frame size"]:
        """Return a feature's numbers; only floating-point ones where those are ``wanted``."""
        values = flat_numbers(table[feature])
        known = [pa.types.is_floating]
        if wanted != "floating-point":
            known += [pa.types.is_integer, pa.types.is_boolean]
        if not any(kind(values.type) for kind in known) or len(values) != len(table) * size:
            raise InputError(
                f"feature {feature!r} of {self.folder / 'data'} holds {table[feature].type}; "
                f"{size} {wanted} numbers a frame are expected."
            )
        return values.to_numpy(zero_copy_only=False).reshape(len(table), size)

    def check_finite(self, feature: str, values: Shaped[np.ndarray, "frame _"]) -> None:
        """Refuse numbers of a feature that are not finite.

        Raises:
            InputError: If there is one; the sentence names the episode and its frame.
        """
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            frame = int(np.argmin(finite))
            row = next(row for row in self.episodes if row.start + row.length > frame)
            raise InputError(
                f"feature {feature!r} of {self.folder} has {values[frame].tolist()} in episode "
                f"{row.index}, frame {frame - row.start}: every number must be finite. Remove or "
                "mend the episode."
            )


def _vector_dim(folder: Path, features: Mapping[str, Any], name: str) -> int:
    if name not in features:
        return 0
    shape = features[name]["shape"]
    if len(shape) != 1:
        raise InputError(f"feature {name!r} of {folder} has shape {shape}; one axis is expected.")
    size: int = shape[0]
    return size
