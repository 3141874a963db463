"""Decoded pictures of a data set in memory-mapped files, so that a loader only copies.

Built once from the videos into ``<data set>/.frames/<size>/``: one ``.npy`` file a camera with all
frames, and ``manifest.json`` with what it was made from and checksums. It gets its name when it is
whole; two processes that want it at once build it once.

Opening checks everything: that the source files have the size and time noted in the manifest, and
that every byte of the store sums to its CRC-32. That costs 0.3 s a gigabyte on two cores (1.7 GB/s
a core), reads from the disk what training reads anyway, and notices what sizes and times do not. A
store that fails is built anew.
"""

import errno
import fcntl
import json
import logging
import math
import os
import shutil
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8
from numpy.lib.format import open_memmap
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eyehand.data.columns import ACTION_MASK, column_of, feature_name
from eyehand.data.lerobot import Dataset
from eyehand.data.paths import inside
from eyehand.data.statistics import describe, load_statistics, to_statistics
from eyehand.files import remove, replacing
from eyehand.types import InputError, Statistics

_LOGGER = logging.getLogger(__name__)
_FORMAT = 1
_PIECE = 1 << 26
"""Bytes under one checksum."""
_EPISODES_AT_ONCE = 8
"""Episodes that one thread decodes before it takes the next."""
_THREADS = min(8, os.cpu_count() or 1)


class Pictures:
    """The frames of one camera in memory-mapped files, read as if they were one.

    Args:
        parts: Frames in the order of their numbers, all of one size, read-only.

    Example:
        >>> part = np.zeros((2, 8, 8, 3), np.uint8)
        >>> pictures = Pictures([part, part + 1])
        >>> len(pictures), int(pictures[3].max())
        (4, 1)
    """

    def __init__(self, parts: Sequence[UInt8[np.ndarray, "_ height width 3"]]) -> None:
        # Plain arrays: indexing a memmap object costs more than copying the frame.
        self.parts = [np.asarray(part) for part in parts]
        self.size = self.parts[0].shape[1:3]
        self._starts = np.cumsum([0, *map(len, self.parts)]).tolist()

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._starts[-1]

    def __getitem__(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return one frame, not copied."""
        part = bisect_right(self._starts, number) - 1
        return self.parts[part][number - self._starts[part]]


@dataclass(frozen=True)
class FrameStore:
    """Every frame of a data set, ready to copy: pictures, numbers and sentences."""

    image: Mapping[str, Pictures]
    """All frames of each camera."""
    state: Float32[np.ndarray, "frame state"]
    """As in `eyehand.types.Episode`, of all episodes one after another; without numbers where the
    data set has no state, as ``action`` where it has no action."""
    action: Float32[np.ndarray, "frame action"]
    """As in `eyehand.types.Episode`, of all episodes one after another."""
    sentence: Int64[np.ndarray, " frame"]
    """Index into ``sentences``."""
    columns: Mapping[str, Shaped[np.ndarray, "frame ..."]]
    """Whatever else the data set has of every frame, by name: landmarks, the action mask, ..."""
    sentences: tuple[str, ...]
    """Every sentence of the data set."""
    episode_start: Int64[np.ndarray, " episode"]
    """First frame of each episode."""
    episode_length: Int64[np.ndarray, " episode"]
    """Frames of each episode."""
    episode_task: tuple[str, ...]
    """Name of each episode's task; empty where the recorder did not say."""
    statistics: Mapping[str, Statistics]
    """Of ``state`` and ``action``."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.sentence)


def open_store(
    folder: Path, *, image_size: int | None = None, needed: Sequence[str] = ()
) -> FrameStore:
    """Open the store of a data set; build it where there is none, or one that is not right.

    Args:
        folder: The data set's folder.
        image_size: Height and width of the pictures, pixels; every picture is scaled to it with a
            box filter, whatever its proportions. ``None`` keeps the size of each camera.
        needed: What the data set must have beside pictures: ``state``, ``action``, or columns.

    Raises:
        InputError: If the data set or a file of it is damaged, what is needed is missing, the
            disk is too small, or the store's place is a link that leads out of the data set.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"`image_size` must be at least 1 pixel. Got {image_size}.")
    dataset = Dataset(folder)
    features = dataset.info["features"]
    for name in needed:
        if feature_name(name) not in features:
            raise InputError(
                f"{folder} has no feature {feature_name(name)!r}, which is needed here; it has: "
                f"{', '.join(features)}."
            )
    frames = dataset.frames
    path = inside(folder, f".frames/{image_size or 'original'}")
    lock_path = inside(folder, ".frames/lock")
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be made ({error.strerror}); the decoded frames lie beside their "
            "data set, which must be in a folder that you may write to."
        ) from error
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problem = _problem(path, dataset, image_size)
        if problem is not None:
            if path.exists():
                _LOGGER.warning("%s is built anew: %s.", path, problem)
            _build(path, dataset, image_size)
    return FrameStore(
        image={name: Pictures([_frames(path, name)]) for name in dataset.cameras},
        state=frames.state,
        action=frames.action,
        sentence=frames.sentence,
        columns=frames.columns,
        sentences=dataset.sentences,
        episode_start=np.array([row.start for row in dataset.episodes]),
        episode_length=np.array([row.length for row in dataset.episodes]),
        episode_task=tuple(row.task for row in dataset.episodes),
        statistics=load_statistics(dataset),
    )


def join_stores(stores: Sequence[FrameStore]) -> FrameStore:
    """Return several stores as one; episodes follow one another in the order of the stores.

    Where only some have an action mask, all actions of the others are labels.

    Raises:
        InputError: If they differ in cameras, in the size of pictures, or in what else they hold.
    """
    first = stores[0]
    kinds = [_kind(store) for store in stores]
    for kind in kinds:
        if kind != kinds[0]:
            raise InputError(
                "data sets that are trained on together must have the same cameras, sizes of "
                "pictures, numbers in state and action, and columns. Got "
                f"{kinds[0]} and {kind}."
            )
    if len(stores) == 1:
        return first
    sentences = tuple(dict.fromkeys(s for store in stores for s in store.sentences))
    columns = [dict(store.columns) for store in stores]
    if any(ACTION_MASK in part for part in columns):
        for part, store in zip(columns, stores, strict=True):
            part.setdefault(ACTION_MASK, np.ones(len(store), bool))
    state, action = (
        np.concatenate([getattr(store, name) for store in stores]) for name in ("state", "action")
    )
    return FrameStore(
        image={
            name: Pictures([part for store in stores for part in store.image[name].parts])
            for name in first.image
        },
        state=state,
        action=action,
        sentence=np.concatenate([
            np.array([sentences.index(s) for s in store.sentences])[store.sentence]
            for store in stores
        ]),
        columns={name: np.concatenate([part[name] for part in columns]) for name in columns[0]},
        sentences=sentences,
        episode_start=np.cumsum([
            0, *(length for store in stores for length in store.episode_length)
        ])[:-1],
        episode_length=np.concatenate([store.episode_length for store in stores]),
        episode_task=tuple(task for store in stores for task in store.episode_task),
        statistics={
            name: to_statistics(describe(values))
            for name, values in (("state", state), ("action", action))
        },
    )  # fmt: skip


def _kind(store: FrameStore) -> dict[str, Any]:
    return {
        "pictures": {name: pictures.size for name, pictures in store.image.items()},
        "state": store.state.shape[1],
        "action": store.action.shape[1],
        "columns": {
            name: str(column_of(store.columns[name]))
            for name in sorted(store.columns)
            if name != ACTION_MASK
        },
    }


def _expected(dataset: Dataset, image_size: int | None) -> dict[str, Any]:
    """Return what a right manifest says besides the checksums."""
    places = [
        (dataset.cameras[name], row.videos.get(name, row.data), row.length)
        for row in dataset.episodes
        for name in dataset.cameras
    ]
    paths = sorted({str(place.path) for _, place, _ in places})
    for path in paths:
        if not inside(dataset.folder, path).is_file():
            raise InputError(f"{dataset.folder / path} is missing. Restore the file.")
    status = {path: (dataset.folder / path).stat() for path in paths}
    layout = [[camera.feature, place.first, length] for camera, place, length in places]
    return {
        "format": _FORMAT,
        "sources": {path: [found.st_size, found.st_mtime_ns] for path, found in status.items()},
        "layout": zlib.crc32(json.dumps(layout).encode()),
        "shapes": {
            name: [len(dataset), image_size or camera.height, image_size or camera.width, 3]
            for name, camera in dataset.cameras.items()
        },
    }


def _problem(path: Path, dataset: Dataset, image_size: int | None) -> str | None:
    """Return what is wrong with the store, or None."""
    expected = _expected(dataset, image_size)
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        checksums = dict(manifest.pop("checksums"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "its manifest cannot be read"
    if manifest != expected:
        return "the data set has changed since"
    for name, shape in expected["shapes"].items():
        file = path / f"{name}.npy"
        if file.is_symlink() or not file.is_file() or _checksums(file) != checksums.get(name):
            return f"{file.name} is truncated or altered"
        try:
            frames = _frames(path, name)
        except ValueError:
            return f"{file.name} is no array"
        if frames.dtype != np.uint8 or list(frames.shape) != shape:
            return f"{file.name} holds other frames"
    return None


def _frames(path: Path, camera: str) -> np.ndarray:
    frames: np.ndarray = np.load(path / f"{camera}.npy", mmap_mode="r", allow_pickle=False)
    return frames


def _checksums(path: Path) -> list[int]:
    """Return the size of a file and the CRC-32 of each of its pieces."""
    size = path.stat().st_size
    if size == 0:
        return [0]
    content = np.memmap(path, np.uint8, "r")
    with ThreadPoolExecutor(_THREADS) as threads:
        pieces = [content[start : start + _PIECE] for start in range(0, size, _PIECE)]
        return [size, *threads.map(zlib.crc32, pieces)]


def _build(path: Path, dataset: Dataset, image_size: int | None) -> None:
    manifest = _expected(dataset, image_size)
    needed = sum(map(math.prod, manifest["shapes"].values()))
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"the decoded frames of {dataset.folder} need {needed / 1e9:.1f} GB beside it; "
            f"{free / 1e9:.1f} GB are free. Free some space, or choose a smaller `image_size`."
        )
    try:
        remove(path)
        with replacing(path) as new:
            new.mkdir()
            for name in dataset.cameras:
                _decode(new / f"{name}.npy", dataset, name, manifest["shapes"][name])
            sums = {name: _checksums(new / f"{name}.npy") for name in dataset.cameras}
            (new / "manifest.json").write_text(json.dumps(manifest | {"checksums": sums}))
    except OSError as error:
        raise InputError(
            f"the decoded frames of {dataset.folder} cannot be written to {path} "
            f"({error.strerror}); they need {needed / 1e9:.1f} GB there. Free some space, or "
            "choose a smaller `image_size`."
        ) from error


def _decode(path: Path, dataset: Dataset, camera: str, shape: list[int]) -> None:
    """Write every frame of one camera, scaled, into one ``.npy`` file."""
    target = open_memmap(path, "w+", np.uint8, tuple(shape))
    _reserve(path)
    size = (shape[2], shape[1])

    def decode(first: int) -> int:
        count = 0
        for number, picture in dataset.images(camera, first=first, stop=first + _EPISODES_AT_ONCE):
            if picture.shape[1::-1] != size:
                scaled = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
                picture = np.asarray(scaled)
            target[number] = picture
            count += 1
        return count

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with (
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress,
        ThreadPoolExecutor(_THREADS) as threads,
    ):
        bar = progress.add_task(f"decoding {camera}", total=shape[0])
        jobs = [
            threads.submit(decode, first)
            for first in range(0, len(dataset.episodes), _EPISODES_AT_ONCE)
        ]
        try:
            for job in as_completed(jobs):
                progress.advance(bar, job.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    target.flush()


def _reserve(path: Path) -> None:
    """Take the room of a file that has its size already.

    A page of a mapped file for which the disk has no room ends the process without a word.

    Raises:
        OSError: If there is no room.
    """
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
