"""Batches of windows cut from the episodes of a store, shuffled, augmented, prepared ahead."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped

from eyehand.data.augmentation import (
    STRONGEST_JITTER,
    draw_shifts,
    draw_tones,
    recolor,
    shift_into,
)
from eyehand.data.columns import ACTION_MASK, LANDMARKS
from eyehand.data.store import FrameStore, Pictures
from eyehand.functional.names import unknown_name
from eyehand.types import LARGEST_SIDE, Batch, InputError, check_ranges

LARGEST = 2**63 - 1
"""Whole number that arrays can hold."""
BATCHES_AHEAD = 2
"""Batches prepared in the background while one is in use."""


@dataclass(frozen=True)
class WindowConfig:
    """How windows are cut, shuffled and augmented."""

    batch_size: int = 256
    """Windows in a batch, over all processes together."""
    history: int = 1
    """Frames that the policy sees, the present one included."""
    history_stride: int = 1
    """Frames from one frame of the window to the next: actions executed per plan at test time."""
    horizon: int = 16
    """Actions in a chunk."""
    seed: int = 0
    """Decides order and augmentation."""
    random_shift: int = 4
    """Largest shift of the pictures, pixels; 0 switches it off."""
    color_jitter: float = 0.1
    """Strength of the change of contrast and brightness, up to 0.5; 0 switches it off."""
    any_paraphrase: bool = True
    """Tell each window one of all the sentences that episodes of its task are told, drawn anew
    every time, instead of its own episode's."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            batch_size=(1, LARGEST),
            history=(1, LARGEST),
            history_stride=(1, LARGEST),
            horizon=(1, LARGEST),
            seed=(0, 2**64 - 1),
            random_shift=(0, LARGEST_SIDE),
            color_jitter=(0, STRONGEST_JITTER),
        )


def frames_at(
    frame: Int64[np.ndarray, "*batch"],
    offsets: Sequence[int] | Int64[np.ndarray, " offset"],
    start: Int64[np.ndarray, "*batch"],
    stop: Int64[np.ndarray, "*batch"],
) -> tuple[Int64[np.ndarray, "*batch offset"], Bool[np.ndarray, "*batch offset"]]:
    """Return the frames at some distances, kept inside a range, and where they lie inside.

    Everything that a batch holds is chosen by it: past frames, chunks of actions, and what else.

    Args:
        frame: Where to count from.
        offsets: Frames from there; negative ones are earlier.
        start: First frame of the range, such as an episode's; a frame before it becomes it.
        stop: The frame after the range's last; a frame from it on becomes the last, or ``start``
            where the range is empty.

    Example:
        >>> one = np.array([11])
        >>> frames, inside = frames_at(one, [-2, -1, 0, 1, 2], one - 1, one + 2)
        >>> frames.tolist(), inside.tolist()
        ([[10, 10, 11, 12, 12]], [[False, True, True, True, False]])
    """
    start, stop = start[..., None], stop[..., None]
    wanted = frame[..., None] + np.asarray(offsets, np.int64)
    return np.maximum(np.minimum(wanted, stop - 1), start), (start <= wanted) & (wanted < stop)


def label_stop(store: FrameStore) -> Int64[np.ndarray, " frame"]:
    """Return for every frame where the labels that begin at it end: the frame after the last.

    That is its episode's end, or the first frame whose action is no label: itself, if its own is
    none. So a chunk of actions to be learnt never reaches over a frame without a label.
    """
    stop = np.repeat(store.episode_start + store.episode_length, store.episode_length)
    if ACTION_MASK not in store.columns:
        return stop
    number = np.arange(len(store))
    unlabelled = np.where(store.columns[ACTION_MASK], len(store), number)
    return np.minimum(stop, np.minimum.accumulate(unlabelled[::-1])[::-1])


def sample_chunks(
    store: FrameStore, *, horizon: int, count: int
) -> Float32[np.ndarray, "chunk horizon action"]:
    """Return chunks that begin at ``count`` frames with a label, evenly spaced, or at all of them.

    After the last label its action is held.
    """
    stop = label_stop(store)
    drawn = np.flatnonzero(stop > np.arange(len(store)))
    present = drawn[np.linspace(0, len(drawn) - 1, min(count, len(drawn))).astype(np.int64)]
    frame, _ = frames_at(present, range(horizon), present, stop[present])
    return store.action[frame]


class WindowLoader:
    """Endless batches from a store.

    Within an epoch every frame whose action is a label is the present of one window, in an order
    decided by the seed; the others appear in windows as the past. Batch ``i`` depends on the seed
    and ``i`` alone: a run that goes on at step ``i`` sees what it would have seen, and the
    processes of one run get the rows of one and the same batch.

    Args:
        store: The frames.
        config: How windows are cut.
        extra: What else a batch holds, in ``Batch.extra``: for ``image``, ``state``, ``action`` or
            the name of a column, the frames wanted of it, counted from the present one; -1 is the
            frame before, 1 the next. Next pictures, past actions and rewards are asked for here.
        process_index: Which process this is.
        process_count: Processes that share each batch.

    Raises:
        InputError: If the processes cannot share the batch evenly, a shift is as large as a
            picture, there is no such column, or no frame has a label.
    """

    def __init__(
        self,
        store: FrameStore,
        config: WindowConfig,
        *,
        extra: Mapping[str, Sequence[int]] | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        if config.batch_size % process_count != 0:
            raise InputError(
                f"`batch_size` must be a multiple of the {process_count} processes that share it. "
                f"Got {config.batch_size}."
            )
        for name, pictures in store.image.items():
            if config.random_shift >= min(pictures.size):
                raise InputError(
                    f"`random_shift` must be smaller than the pictures of camera {name!r}, "
                    f"{pictures.size[0]} x {pictures.size[1]} pixels. Got {config.random_shift}."
                )
        extra = extra or {}
        for name, offsets in extra.items():
            known = ("image", "state", "action", *store.columns)
            if name not in known:
                raise InputError(unknown_name("column", name, known))
            if not offsets:
                raise InputError(f"`extra` needs one offset or more of {name!r}.")
        self.store = store
        self.config = config
        self._extra = extra
        share = config.batch_size // process_count
        self._rows = slice(process_index * share, (process_index + 1) * share)
        self._episode = np.repeat(np.arange(len(store.episode_length)), store.episode_length)
        self._stop = store.episode_start + store.episode_length
        self._label_stop = label_stop(store)
        self._drawn = np.flatnonzero(self._label_stop > np.arange(len(store)))
        if not len(self._drawn):
            raise InputError(f"no action of the {len(store)} frames is a label (`action_mask`).")
        self._paraphrases = _paraphrases(store)
        self._order = lru_cache(maxsize=2)(self._order_of_epoch)

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Yield batch ``start_step`` and all after it; the next ones are prepared meanwhile.

        An error in the background is raised here. Closing the iterator ends its thread.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="windows") as thread:
            ahead: list[Future[Batch]] = []
            step = start_step
            try:
                while True:
                    while len(ahead) <= BATCHES_AHEAD:
                        ahead.append(thread.submit(self.batch, step))
                        step += 1
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def batch(self, step: int) -> Batch:
        """Return this process's rows of batch ``step``."""
        config, store = self.config, self.store
        present = self._present(step)[self._rows]
        episode = self._episode[present]
        start, stop = store.episode_start[episode], self._stop[episode]
        back = config.history_stride * np.arange(1 - config.history, 1)
        frame, history_mask = frames_at(present, back, start, stop)
        chunk, action_mask = frames_at(frame, range(config.horizon), frame, self._label_stop[frame])
        # Drawn for the whole batch, so that a row does not depend on how many processes share it.
        seed = int(np.random.SeedSequence([config.seed, step]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(seed)
        shifts = draw_shifts(config.batch_size, config.random_shift, generator=generator)
        tones = draw_tones(config.batch_size, config.color_jitter, generator=generator)
        chosen = torch.rand(config.batch_size, generator=generator).numpy()[self._rows]
        shifts, tones = shifts[self._rows], tones[self._rows]
        extra: dict[str, torch.Tensor] = {}
        extra_mask: dict[str, torch.Tensor] = {}
        for key, offsets in self._extra.items():
            places, inside = frames_at(present, offsets, start, stop)
            found = (
                {f"image.{name}": v for name, v in self._images(places, shifts, tones).items()}
                if key == "image"
                else {key: self._numbers(key, places, shifts)}
            )
            extra |= found
            extra_mask |= dict.fromkeys(found, torch.from_numpy(inside))
        return Batch(
            image=self._images(frame, shifts, tones),
            state=torch.from_numpy(store.state[frame]),
            action=torch.from_numpy(store.action[chunk]),
            action_mask=torch.from_numpy(action_mask),
            history_mask=torch.from_numpy(history_mask),
            instruction=self._told(present, chosen),
            landmarks=self._numbers(LANDMARKS, frame, shifts)
            if LANDMARKS in store.columns
            else None,
            extra=extra,
            extra_mask=extra_mask,
        )

    def _present(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Return the last frame of every window of a batch, which may reach over epochs."""
        position = step * self.config.batch_size + np.arange(self.config.batch_size)
        epoch, place = np.divmod(position, len(self._drawn))
        present = np.empty_like(place)
        for number in np.unique(epoch):
            chosen = epoch == number
            present[chosen] = self._order(int(number))[place[chosen]]
        return present

    def _order_of_epoch(self, epoch: int) -> Int64[np.ndarray, " frame"]:
        random = np.random.default_rng([self.config.seed, epoch])
        return self._drawn[random.permutation(len(self._drawn))]

    def _told(
        self, present: Int64[np.ndarray, " batch"], chosen: Float32[np.ndarray, " batch"]
    ) -> list[str]:
        numbers = self.store.sentence[present].tolist()
        if self.config.any_paraphrase:
            choices = [self._paraphrases[episode] for episode in self._episode[present]]
            numbers = [
                own[int(place * len(own))] if own else number
                for own, place, number in zip(choices, chosen, numbers, strict=True)
            ]
        return [self.store.sentences[number] for number in numbers]

    def _numbers(
        self,
        name: str,
        frame: Int64[np.ndarray, "batch offset"],
        shifts: Int64[np.ndarray, "batch 2"],
    ) -> Shaped[torch.Tensor, "batch offset ..."]:
        """Return a column at some frames; landmarks move with the pictures they lie in."""
        store = self.store
        column = getattr(store, name) if name in ("state", "action") else store.columns[name]
        values = column[frame]
        if name == LANDMARKS and store.image:
            height, width = next(iter(store.image.values())).size
            moved = shifts[:, None, None, ::-1] * np.array([2 / width, 2 / height], np.float32)
            values[..., :2] += moved
        return torch.from_numpy(values)

    def _images(
        self,
        frame: Int64[np.ndarray, "batch offset"],
        shifts: Int64[np.ndarray, "batch 2"],
        tones: Int64[np.ndarray, "batch 2"],
    ) -> dict[str, torch.Tensor]:
        cameras = self.store.image.items()
        return {name: self._windows(film, frame, shifts, tones) for name, film in cameras}

    def _windows(
        self,
        pictures: Pictures,
        frame: Int64[np.ndarray, "batch offset"],
        shifts: Int64[np.ndarray, "batch 2"],
        tones: Int64[np.ndarray, "batch 2"],
    ) -> torch.Tensor:
        """Copy each frame once, shifted on the way, and recolour it while it is in the cache."""
        windows = np.empty((*frame.shape, *pictures.size, 3), np.uint8)
        for window, numbers, shift, tone in zip(
            windows, frame.tolist(), shifts.tolist(), tones.tolist(), strict=True
        ):
            for target, number in zip(window, numbers, strict=True):
                shift_into(target, pictures[number], *shift)
                if self.config.color_jitter > 0:
                    recolor(target, *tone)
        return torch.from_numpy(windows)


def _paraphrases(store: FrameStore) -> list[tuple[int, ...]]:
    """Return for each episode the sentences that its task is told; none where it has no name."""
    told: dict[str, set[int]] = {}
    for task, start in zip(store.episode_task, store.episode_start, strict=True):
        told.setdefault(task, set()).add(int(store.sentence[start]))
    return [tuple(sorted(told[task])) if task else () for task in store.episode_task]
