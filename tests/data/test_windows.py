import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eyehand.data.store import FrameStore, Pictures, join_stores
from eyehand.data.windows import WindowConfig, WindowLoader, sample_chunks, window_index
from eyehand.types import Batch, InputError, Statistics

PLAIN = {"random_shift": 0, "color_jitter": 0.0}


def make_store(
    lengths: Sequence[int],
    size: int = 8,
    cameras: tuple[str, ...] = ("top",),
    *,
    tasks: Sequence[str] = (),
    landmarks: int = 0,
) -> FrameStore:
    """A store whose numbers say which frame they belong to; tasks without a name by default."""
    total = sum(lengths)
    random = np.random.default_rng(0)
    starts = np.cumsum([0, *lengths[:-1]])
    number = np.arange(total, dtype=np.float32)
    nothing = np.zeros(1, np.float32)
    one = Statistics(nothing, nothing, nothing, nothing, nothing, nothing)
    return FrameStore(
        image={
            name: Pictures([random.integers(0, 256, (total, size, size, 3), dtype=np.uint8)])
            for name in cameras
        },
        state=number[:, None],
        action=np.stack([number, -number], axis=1),
        sentence=np.repeat(np.arange(len(lengths)) % 2, lengths),
        landmarks=random.uniform(-1, 1, (total, landmarks, 3)).astype(np.float32)
        if landmarks
        else None,
        sentences=("Push.", "Pull."),
        episode_start=starts,
        episode_length=np.array(lengths),
        episode_task=tuple(tasks) or ("",) * len(lengths),
        statistics={"state": one, "action": one},
    )


def equal(one: Batch, two: Batch) -> bool:
    tensors = ("state", "action", "action_mask", "history_mask")
    return (
        all(torch.equal(getattr(one, name), getattr(two, name)) for name in tensors)
        and all(torch.equal(one.image[name], two.image[name]) for name in one.image)
        and list(one.instruction) == list(two.instruction)
    )


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    history=st.integers(1, 4),
    history_stride=st.integers(1, 3),
    horizon=st.integers(1, 5),
)
def test_windows_match_an_obvious_loop(
    lengths: list[int], history: int, history_stride: int, horizon: int
) -> None:
    ends = np.cumsum(lengths)
    starts = ends - lengths
    episode = np.repeat(np.arange(len(lengths)), lengths)
    present = np.arange(ends[-1])
    index = window_index(
        present, starts[episode], ends[episode],
        history=history, history_stride=history_stride, horizon=horizon,
    )  # fmt: skip
    for row in present:
        first, stop = starts[episode[row]], ends[episode[row]]
        for place in range(history):
            frame = row - history_stride * (history - 1 - place)
            inside = frame >= first
            if not inside:
                frame = first
            assert index.frame[row, place] == frame
            assert index.history_mask[row, place] == inside
            for ahead in range(horizon):
                is_real = frame + ahead < stop
                assert index.action_mask[row, place, ahead] == is_real
                assert index.action[row, place, ahead] == (frame + ahead if is_real else stop - 1)


def test_batches_hold_what_the_index_says() -> None:
    store = make_store([5, 3, 9], cameras=("top", "wrist"))
    config = WindowConfig(batch_size=17, history=3, history_stride=2, horizon=4, **PLAIN)
    batch = WindowLoader(store, config).batch(0)
    present = batch.state[:, -1, 0].long()
    assert sorted(present.tolist()) == list(range(17))
    for row, number in enumerate(present.tolist()):
        assert batch.instruction[row] == store.sentences[store.sentence[number]]
        for place in range(3):
            frame = int(batch.state[row, place, 0])
            for name in ("top", "wrist"):
                np.testing.assert_array_equal(
                    batch.image[name][row, place], store.image[name][frame]
                )
            first_action = batch.action[row, place, 0]
            assert first_action.tolist() == [frame, -frame]
    assert batch.action.shape == (17, 3, 4, 2)


def test_sampled_chunks_stay_in_their_episodes() -> None:
    store = make_store([3, 1, 5])
    every = sample_chunks(store, horizon=3, count=100)
    assert every[..., 0].tolist() == [
        [0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 3, 3],
        [4, 5, 6], [5, 6, 7], [6, 7, 8], [7, 8, 8], [8, 8, 8],
    ]  # fmt: skip
    some = sample_chunks(store, horizon=3, count=3)
    assert some[:, 0, 0].tolist() == [0, 4, 8]


@pytest.mark.parametrize("batch_size", [4, 7, 17, 40])
def test_an_epoch_shows_every_frame_once(batch_size: int) -> None:
    store = make_store([5, 3, 9])
    loader = WindowLoader(store, WindowConfig(batch_size=batch_size, **PLAIN))
    batches = [loader.batch(step) for step in range(3 * 17)]
    seen = torch.cat([batch.state[:, -1, 0] for batch in batches]).long().numpy()
    epochs = seen[: len(seen) // 17 * 17].reshape(-1, 17)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(17), (len(epochs), 1)))
    assert len(np.unique(epochs, axis=0)) > 1  # shuffled anew


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_share_one_batch(process_count: int) -> None:
    store = make_store([5, 3, 9], tasks=["press"] * 3, landmarks=2)
    config = WindowConfig(batch_size=8, history=2, color_jitter=0.3, random_shift=3)
    whole = WindowLoader(store, config).batch(5)
    for rank in range(process_count):
        loader = WindowLoader(store, config, process_index=rank, process_count=process_count)
        part = loader.batch(5)
        rows = slice(rank * 8 // process_count, (rank + 1) * 8 // process_count)
        assert torch.equal(part.image["top"], whole.image["top"][rows])
        assert torch.equal(part.action, whole.action[rows])
        assert torch.equal(part.landmarks, whole.landmarks[rows])
        assert list(part.instruction) == list(whole.instruction[rows])


def test_going_on_at_a_step_gives_the_same_batches() -> None:
    store = make_store([5, 3, 9])
    config = WindowConfig(batch_size=6, history=2)
    whole = WindowLoader(store, config).batches()
    batches = [next(whole) for _ in range(9)]
    late = WindowLoader(store, config).batches(start_step=4)
    assert all(equal(batch, next(late)) for batch in batches[4:])
    other = WindowLoader(store, WindowConfig(batch_size=6, history=2, seed=1)).batches()
    assert not equal(batches[0], next(other))
    for iterator in (whole, late, other):
        iterator.close()  # type: ignore[attr-defined]


def test_augmentation_differs_from_step_to_step_but_not_within_a_window() -> None:
    store = make_store([1])
    config = WindowConfig(batch_size=6, history=3, random_shift=2, color_jitter=0.3)
    loader = WindowLoader(store, config)
    one, two = loader.batch(0).image["top"], loader.batch(1).image["top"]
    assert (one == one[:, :1]).all()
    assert len(torch.unique(torch.cat([one, two])[:, 0].flatten(1), dim=0)) > 6


def test_the_store_stays_as_it_is() -> None:
    store = make_store([5], landmarks=2)
    (pictures,) = store.image["top"].parts
    before, points = pictures.copy(), store.landmarks.copy()
    for shift in (0, 3):
        batch = WindowLoader(store, WindowConfig(batch_size=5, random_shift=shift)).batch(0)
        batch.image["top"].zero_()
        batch.state.zero_()
        batch.landmarks.zero_()
    np.testing.assert_array_equal(pictures, before)
    np.testing.assert_array_equal(store.state[:, 0], np.arange(5))
    np.testing.assert_array_equal(store.landmarks, points)


def running_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("windows")]


def test_closing_ends_the_thread() -> None:
    iterator = WindowLoader(make_store([5]), WindowConfig(batch_size=4)).batches()
    next(iterator)
    assert running_threads()
    iterator.close()  # type: ignore[attr-defined]
    assert not running_threads()


def test_an_error_in_the_background_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = WindowLoader(make_store([5]), WindowConfig(batch_size=4))
    real = WindowLoader.batch

    def failing(self: WindowLoader, step: int) -> Batch:
        if step == 3:
            raise OSError("disk gone at step 3")
        return real(self, step)

    monkeypatch.setattr(WindowLoader, "batch", failing)
    iterator = loader.batches()
    for _ in range(3):
        next(iterator)
    with pytest.raises(OSError, match="disk gone at step 3"):
        next(iterator)
    assert not running_threads()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1. Got 0"),
        ({"history": 0}, "`history` must be at least 1. Got 0"),
        ({"history_stride": -2}, "`history_stride` must be at least 1. Got -2"),
        ({"horizon": 0}, "`horizon` must be at least 1. Got 0"),
        ({"seed": -1}, "`seed` must not be negative. Got -1"),
        ({"random_shift": -3}, "`random_shift` must not be negative. Got -3"),
        ({"color_jitter": 0.7}, r"`color_jitter` must lie in \[0, 0.5\]. Got 0.7"),
    ],
)
def test_refused_configs(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowConfig(**change)  # type: ignore[arg-type]


def test_refused_loaders() -> None:
    with pytest.raises(InputError, match=r"multiple of the 3 processes that share it\. Got 8"):
        WindowLoader(make_store([5]), WindowConfig(batch_size=8), process_count=3)
    with pytest.raises(InputError, match=r"camera 'top', 8 x 8 pixels\. Got 8"):
        WindowLoader(make_store([5]), WindowConfig(random_shift=8))


def dotted(positions: Sequence[tuple[int, int]], size: int = 24) -> FrameStore:
    """One episode of black pictures, each with a white dot at its landmark (column, row)."""
    store = make_store([len(positions)], size=size, landmarks=1)
    pictures = np.zeros((len(positions), size, size, 3), np.uint8)
    landmarks = np.full((len(positions), 1, 3), 0.7, np.float32)
    for frame, (column, row) in enumerate(positions):
        pictures[frame, row, column] = 255
        landmarks[frame, 0, :2] = 2 * (np.array([column, row]) + 0.5) / size - 1
    return replace(store, image={"top": Pictures([pictures])}, landmarks=landmarks)


@pytest.mark.parametrize("shift", [0, 5])
def test_landmarks_move_with_the_pictures(shift: int) -> None:
    size = 24
    store = dotted([(6, 9), (17, 8), (7, 16), (15, 6), (12, 12)])
    config = WindowConfig(batch_size=5, history=2, random_shift=shift, color_jitter=0.2)
    loader, moved = WindowLoader(store, config), set()
    for step in range(4):
        batch = loader.batch(step)
        assert batch.landmarks.shape == (5, 2, 1, 3)
        assert batch.landmarks.dtype == torch.float32
        assert (batch.landmarks[..., 2] == torch.tensor(0.7)).all()
        for row in range(5):
            for place in range(2):
                picture = batch.image["top"][row, place].sum(-1)
                down, right = divmod(int(picture.argmax()), size)
                want = 2 * (torch.tensor([right, down]) + 0.5) / size - 1
                torch.testing.assert_close(batch.landmarks[row, place, 0, :2], want)
                own = store.landmarks[int(batch.state[row, place, 0]), 0, :2]
                moved.add(tuple(((want.numpy() - own) * size / 2).round().tolist()))
    assert len(moved) == 1 if shift == 0 else len(moved) > 10
    assert {abs(distance) <= shift for pair in moved for distance in pair} == {True}


def test_a_data_set_without_landmarks_has_none_in_its_batches() -> None:
    assert WindowLoader(make_store([5]), WindowConfig(batch_size=4)).batch(0).landmarks is None


def spoken() -> FrameStore:
    """Two tasks of three and two sentences, and one episode whose task has no name."""
    sentences = ("Push.", "Pull.", "Shove it.", "Tug it.", "Thrust.", "Wait.")
    store = make_store([4] * 6, tasks=["push", "pull", "push", "pull", "push", ""])
    return replace(store, sentences=sentences, sentence=np.repeat(np.arange(6), 4))


def test_any_sentence_of_the_task_is_told_and_no_other() -> None:
    store = spoken()
    loader = WindowLoader(store, WindowConfig(batch_size=24, **PLAIN))
    told: dict[tuple[str, int], list[str]] = {}
    for step in range(40):
        batch = loader.batch(step)
        for sentence, frame in zip(batch.instruction, batch.state[:, -1, 0].long(), strict=True):
            episode = int(frame) // 4
            told.setdefault((store.episode_task[episode], episode), []).append(sentence)
    want = {
        "push": {"Push.", "Shove it.", "Thrust."},
        "pull": {"Pull.", "Tug it."},
        "": {"Wait."},
    }
    assert len(told) == 6
    for (task, _), sentences in told.items():
        assert set(sentences) == want[task]
        for sentence in want[task]:  # all about equally often: 160 draws
            share = sentences.count(sentence) / len(sentences)
            assert share == pytest.approx(1 / len(want[task]), abs=0.13)


def test_what_is_told_depends_on_seed_and_step_alone() -> None:
    store = spoken()
    config = WindowConfig(batch_size=24, history=2)
    one, two = WindowLoader(store, config), WindowLoader(store, config)
    for step in range(3):
        two.batch(7 - step)
        assert list(one.batch(step).instruction) == list(two.batch(step).instruction)
    other = WindowLoader(store, replace(config, seed=1)).batch(0)
    assert list(other.instruction) != list(one.batch(0).instruction)
    augmented = replace(config, random_shift=0, color_jitter=0.0)
    assert list(WindowLoader(store, augmented).batch(0).instruction) == list(
        one.batch(0).instruction
    )


def test_without_paraphrases_every_window_is_told_its_own_sentence() -> None:
    store = spoken()
    loader = WindowLoader(store, WindowConfig(batch_size=24, any_paraphrase=False))
    for step in range(3):
        batch = loader.batch(step)
        frames = batch.state[:, -1, 0].long().numpy()
        assert list(batch.instruction) == [store.sentences[n] for n in store.sentence[frames]]


def test_windows_reach_over_joined_stores() -> None:
    """Frames of a second part come from its own file, and no window crosses the seam."""
    one = make_store([5, 3], landmarks=1)
    two = replace(one, state=one.state + 8, sentences=("Pull.", "Turn."))
    joined = join_stores([one, two])
    config = WindowConfig(batch_size=16, history=3, **PLAIN)
    batch = WindowLoader(joined, config).batch(0)
    numbers = batch.state[..., 0].long()
    assert sorted(numbers[:, -1].tolist()) == list(range(16))
    pictures = one.image["top"]
    for row, window in enumerate(numbers.tolist()):
        assert (window[0] < 8) == (window[-1] < 8)
        for place, number in enumerate(window):
            np.testing.assert_array_equal(batch.image["top"][row, place], pictures[number % 8])
            np.testing.assert_array_equal(batch.landmarks[row, place], one.landmarks[number % 8])
