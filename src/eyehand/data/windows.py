"""Batches of windows cut from the episodes of a store, shuffled, augmented, prepared ahead."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from eyehand.data.augmentation import (
    STRONGEST_JITTER,
    draw_shifts,
    draw_tones,
    recolor,
    shift_into,
)
from eyehand.data.store import FrameStore, Pictures
from eyehand.types import Batch, InputError

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
        for name in ("batch_size", "history", "history_stride", "horizon"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be at least 1. Got {getattr(self, name)}.")
        for name in ("seed", "random_shift"):
            if getattr(self, name) < 0:
                raise InputError(f"`{name}` must not be negative. Got {getattr(self, name)}.")
        if not 0 <= self.color_jitter <= STRONGEST_JITTER:
            raise InputError(
                f"`color_jitter` must lie in [0, {STRONGEST_JITTER}]. Got {self.color_jitter}."
            )


@dataclass(frozen=True)
class WindowIndex:
    """The frames that windows are made of."""

    frame: Int64[np.ndarray, "batch history"]
    """Frames of the window."""
    history_mask: Bool[np.ndarray, "batch history"]
    """As in `eyehand.types.Batch`."""
    action: Int64[np.ndarray, "batch history horizon"]
    """Frames whose actions form the chunks."""
    action_mask: Bool[np.ndarray, "batch history horizon"]
    """As in `eyehand.types.Batch`."""


def window_index(
    present: Int64[np.ndarray, " batch"],
    start: Int64[np.ndarray, " batch"],
    stop: Int64[np.ndarray, " batch"],
    *,
    history: int,
    history_stride: int,
    horizon: int,
) -> WindowIndex:
    """Return the frames of windows that end at ``present``, padded inside their episodes.

    Args:
        present: The last frame of each window.
        start: First frame of its episode.
        stop: The frame after its episode's last.
        history: Frames in a window.
        history_stride: Frames from one to the next.
        horizon: Actions in a chunk.

    Example:
        >>> one = np.array([11])
        >>> index = window_index(
        ...     one, one - 1, one + 2, history=3, history_stride=1, horizon=4
        ... )
        >>> index.frame.tolist(), index.action[0, -1].tolist()
        ([[10, 10, 11]], [11, 12, 12, 12])
    """
    back = history_stride * np.arange(history - 1, -1, -1)
    frame = present[:, None] - back
    history_mask = frame >= start[:, None]
    frame = np.maximum(frame, start[:, None])
    action = frame[:, :, None] + np.arange(horizon)
    action_mask = action < stop[:, None, None]
    action = np.minimum(action, stop[:, None, None] - 1)
    return WindowIndex(frame, history_mask, action, action_mask)


def sample_chunks(
    store: FrameStore, *, horizon: int, count: int
) -> Float32[np.ndarray, "chunk horizon action"]:
    """Return chunks that begin at ``count`` frames, evenly spaced over the store, or at all.

    After an episode's end its last action is held.
    """
    present = np.linspace(0, len(store) - 1, min(count, len(store))).astype(np.int64)
    episode = np.searchsorted(store.episode_start, present, side="right") - 1
    start, length = store.episode_start[episode], store.episode_length[episode]
    index = window_index(
        present, start, start + length, history=1, history_stride=1, horizon=horizon
    )
    return store.action[index.action[:, 0]]


class WindowLoader:
    """Endless batches from a store.

    Within an epoch every frame is the present of one window, in an order decided by the seed.
    Batch ``i`` depends on the seed and ``i`` alone: a run that goes on at step ``i`` sees what it
    would have seen, and the processes of one run get the rows of one and the same batch.

    Args:
        store: The frames.
        config: How windows are cut.
        process_index: Which process this is.
        process_count: Processes that share each batch.

    Raises:
        InputError: If the processes cannot share the batch evenly, or a shift is as large as a
            picture.
    """

    def __init__(
        self,
        store: FrameStore,
        config: WindowConfig,
        *,
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
        self.store = store
        self.config = config
        share = config.batch_size // process_count
        self._rows = slice(process_index * share, (process_index + 1) * share)
        self._episode = np.repeat(np.arange(len(store.episode_length)), store.episode_length)
        self._stop = store.episode_start + store.episode_length
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
        index = window_index(
            present,
            store.episode_start[episode],
            self._stop[episode],
            history=config.history,
            history_stride=config.history_stride,
            horizon=config.horizon,
        )
        # Drawn for the whole batch, so that a row does not depend on how many processes share it.
        seed = int(np.random.SeedSequence([config.seed, step]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(seed)
        shifts = draw_shifts(config.batch_size, config.random_shift, generator=generator)
        tones = draw_tones(config.batch_size, config.color_jitter, generator=generator)
        chosen = torch.rand(config.batch_size, generator=generator).numpy()[self._rows]
        shifts, tones = shifts[self._rows], tones[self._rows]
        return Batch(
            image={
                name: self._windows(pictures, index.frame, shifts, tones)
                for name, pictures in store.image.items()
            },
            state=torch.from_numpy(store.state[index.frame]),
            action=torch.from_numpy(store.action[index.action]),
            action_mask=torch.from_numpy(index.action_mask),
            history_mask=torch.from_numpy(index.history_mask),
            instruction=self._told(present, chosen),
            landmarks=self._landmarks(index.frame, shifts),
        )

    def _present(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Return the last frame of every window of a batch, which may reach over epochs."""
        position = step * self.config.batch_size + np.arange(self.config.batch_size)
        epoch, place = np.divmod(position, len(self.store))
        present = np.empty_like(place)
        for number in np.unique(epoch):
            chosen = epoch == number
            present[chosen] = self._order(int(number))[place[chosen]]
        return present

    def _order_of_epoch(self, epoch: int) -> Int64[np.ndarray, " frame"]:
        return np.random.default_rng([self.config.seed, epoch]).permutation(len(self.store))

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

    def _landmarks(
        self, frame: Int64[np.ndarray, "batch history"], shifts: Int64[np.ndarray, "batch 2"]
    ) -> torch.Tensor | None:
        """Return the landmarks, moved with the pictures they lie in."""
        if self.store.landmarks is None:
            return None
        landmarks = self.store.landmarks[frame]
        height, width = next(iter(self.store.image.values())).size
        moved = shifts[:, None, None, ::-1] * np.array([2 / width, 2 / height], np.float32)
        landmarks[..., :2] += moved
        return torch.from_numpy(landmarks)

    def _windows(
        self,
        pictures: Pictures,
        frame: Int64[np.ndarray, "batch history"],
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
