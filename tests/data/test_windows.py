import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eyehand.data.store import FrameStore, Pictures, join_stores
from eyehand.data.windows import WindowConfig, WindowLoader, frames_at, label_stop, sample_chunks
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
        columns={"landmarks": random.uniform(-1, 1, (total, landmarks, 3)).astype(np.float32)}
        if landmarks
        else {},
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


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    offsets=st.lists(st.integers(-6, 6), min_size=1, max_size=4),
)
def test_frames_match_an_obvious_loop(lengths: list[int], offsets: list[int]) -> None:
    ends = np.cumsum(lengths)
    starts = ends - lengths
    episode = np.repeat(np.arange(len(lengths)), lengths)
    frames, inside = frames_at(np.arange(ends[-1]), offsets, starts[episode], ends[episode])
    for row in range(ends[-1]):
        own = range(starts[episode[row]], ends[episode[row]])
        for place, offset in enumerate(offsets):
            assert inside[row, place] == (row + offset in own)
            assert frames[row, place] == min(max(row + offset, own[0]), own[-1])


def test_batches_hold_the_frames_before_and_the_actions_after() -> None:
    store = make_store([5, 3, 9], cameras=("top", "wrist"))
    config = WindowConfig(batch_size=17, history=3, history_stride=2, horizon=4, **PLAIN)
    batch = WindowLoader(store, config).batch(0)
    present = batch.state[:, -1, 0].long()
    assert sorted(present.tolist()) == list(range(17))
    for row, number in enumerate(present.tolist()):
        assert batch.instruction[row] == store.sentences[store.sentence[number]]
        own = next(own for own in (range(5), range(5, 8), range(8, 17)) if number in own)
        for place in range(3):
            frame = int(batch.state[row, place, 0])
            for name in ("top", "wrist"):
                np.testing.assert_array_equal(
                    batch.image[name][row, place], store.image[name][frame]
                )
            assert frame == max(number - 2 * (2 - place), own[0])
            assert batch.history_mask[row, place] == (number - 2 * (2 - place) >= own[0])
            for ahead in range(4):
                acted = min(frame + ahead, own[-1])
                assert batch.action[row, place, ahead].tolist() == [acted, -acted]
                assert batch.action_mask[row, place, ahead] == (frame + ahead <= own[-1])
    assert (batch.extra, batch.extra_mask) == ({}, {})


def test_sampled_chunks_stay_in_their_episodes() -> None:
    store = make_store([3, 1, 5])
    every = sample_chunks(store, horizon=3, count=100)
    assert every[..., 0].tolist() == [
        [0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 3, 3],
        [4, 5, 6], [5, 6, 7], [6, 7, 8], [7, 8, 8], [8, 8, 8],
    ]  # fmt: skip
    some = sample_chunks(store, horizon=3, count=3)
    assert some[:, 0, 0].tolist() == [0, 4, 8]


@pytest.mark.parametrize("batch_size", [7, 40])
def test_an_epoch_shows_every_frame_once(batch_size: int) -> None:
    store = make_store([5, 3, 9])
    loader = WindowLoader(store, WindowConfig(batch_size=batch_size, **PLAIN))
    batches = [loader.batch(step) for step in range(17)]
    seen = torch.cat([batch.state[:, -1, 0] for batch in batches]).long().numpy()
    epochs = seen[: len(seen) // 17 * 17].reshape(-1, 17)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(17), (len(epochs), 1)))
    assert len(np.unique(epochs, axis=0)) > 1  # shuffled anew


def test_processes_share_one_batch() -> None:
    process_count = 4
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
    before, points = pictures.copy(), store.columns["landmarks"].copy()
    for shift in (0, 3):
        batch = WindowLoader(store, WindowConfig(batch_size=5, random_shift=shift)).batch(0)
        batch.image["top"].zero_()
        batch.state.zero_()
        batch.landmarks.zero_()
    np.testing.assert_array_equal(pictures, before)
    np.testing.assert_array_equal(store.state[:, 0], np.arange(5))
    np.testing.assert_array_equal(store.columns["landmarks"], points)


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
        ({"batch_size": 0}, "--batch-size must be 1 to .*; got 0"),
        ({"history": 0}, "--history must be 1 to .*; got 0"),
        ({"history_stride": -2}, "--history-stride must be 1 to .*; got -2"),
        ({"horizon": 0}, "--horizon must be 1 to .*; got 0"),
        ({"seed": -1}, "--seed must be 0 to .*; got -1"),
        ({"random_shift": -3}, "--random-shift must be 0 to .*; got -3"),
        ({"color_jitter": 0.7}, "--color-jitter must be 0 to 0.5; got 0.7"),
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
    with pytest.raises(InputError, match="no column 'actoin'. Did you mean 'action'"):  # noqa: RUF043
        WindowLoader(make_store([5]), WindowConfig(), extra={"actoin": (1,)})
    with pytest.raises(InputError, match="one offset or more of 'state'"):
        WindowLoader(make_store([5]), WindowConfig(), extra={"state": ()})
    nothing = replace(make_store([5]), columns={"action_mask": np.zeros(5, bool)})
    with pytest.raises(InputError, match="no action of the 5 frames is a label"):
        WindowLoader(nothing, WindowConfig())


def dotted(positions: Sequence[tuple[int, int]], size: int = 24) -> FrameStore:
    """One episode of black pictures, each with a white dot at its landmark (column, row)."""
    store = make_store([len(positions)], size=size, landmarks=1)
    pictures = np.zeros((len(positions), size, size, 3), np.uint8)
    landmarks = np.full((len(positions), 1, 3), 0.7, np.float32)
    for frame, (column, row) in enumerate(positions):
        pictures[frame, row, column] = 255
        landmarks[frame, 0, :2] = 2 * (np.array([column, row]) + 0.5) / size - 1
    return replace(store, image={"top": Pictures([pictures])}, columns={"landmarks": landmarks})


@pytest.mark.parametrize("shift", [0, 5])
def test_landmarks_move_with_the_pictures(shift: int) -> None:
    size = 24
    store = dotted([(6, 9), (17, 8), (7, 16), (15, 6), (12, 12)])
    config = WindowConfig(batch_size=5, history=2, random_shift=shift, color_jitter=0.2)
    loader, moved = WindowLoader(store, config), set()
    for step in range(2):
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
                own = store.columns["landmarks"][int(batch.state[row, place, 0]), 0, :2]
                moved.add(tuple(((want.numpy() - own) * size / 2).round().tolist()))
    assert len(moved) == 1 if shift == 0 else len(moved) > 5
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
            np.testing.assert_array_equal(
                batch.landmarks[row, place], one.columns["landmarks"][number % 8]
            )


def test_any_offsets_of_any_column_are_in_the_batch() -> None:
    """What a world model and a head with memory ask for; the rest of the batch stays as it is."""
    store = make_store([5, 3, 9], cameras=("top", "wrist"), landmarks=2)
    pose = np.arange(17 * 6, dtype=np.float64).reshape(17, 2, 3)
    store = replace(store, columns={**store.columns, "reward": np.arange(17), "pose": pose})
    extra = {
        "image": (-2, 4), "action": (-2, -1), "reward": range(3), "pose": (1,), "landmarks": (0,),
    }  # fmt: skip
    config = WindowConfig(batch_size=17, horizon=2)
    batch = WindowLoader(store, config, extra=extra).batch(3)
    assert equal(batch, WindowLoader(store, config).batch(3))
    assert set(batch.extra) == {
        "image.top", "image.wrist", "action", "reward", "pose", "landmarks",
    }  # fmt: skip
    assert batch.extra.keys() == batch.extra_mask.keys()
    assert torch.equal(batch.extra["landmarks"], batch.landmarks)  # moved by the same shift
    assert batch.extra["pose"].shape == (17, 1, 2, 3)
    for row, number in enumerate(batch.state[:, -1, 0].long().tolist()):
        own = next(own for own in (range(5), range(5, 8), range(8, 17)) if number in own)
        for key, column, offsets in (
            ("action", store.action, extra["action"]),
            ("reward", store.columns["reward"], extra["reward"]),
            ("pose", pose, extra["pose"]),
        ):
            for place, offset in enumerate(offsets):
                frame = min(max(number + offset, own[0]), own[-1])
                np.testing.assert_array_equal(batch.extra[key][row, place], column[frame])
                assert batch.extra_mask[key][row, place] == (number + offset in own)


def test_extra_pictures_are_shifted_and_recoloured_like_the_window() -> None:
    store = make_store([6], cameras=("top",))
    config = WindowConfig(batch_size=6, history=3, random_shift=2, color_jitter=0.3)
    batch = WindowLoader(store, config, extra={"image": (-2, -1, 0)}).batch(0)
    assert torch.equal(batch.extra["image.top"], batch.image["top"])
    assert torch.equal(batch.extra_mask["image.top"], batch.history_mask)


def corrected() -> FrameStore:
    """An episode that a policy begins and an expert ends, one that changes twice, one without."""
    mask = np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1], bool)
    return replace(make_store([5, 5, 2]), columns={"action_mask": mask})


def test_frames_without_a_label_are_only_the_past_of_others() -> None:
    store = corrected()
    labelled = np.flatnonzero(store.columns["action_mask"])
    loader = WindowLoader(store, WindowConfig(batch_size=7, history=3, horizon=3, **PLAIN))
    seen = torch.cat([loader.batch(step).state[:, -1, 0] for step in range(5)]).long().numpy()
    epochs = np.sort(seen.reshape(5, 7), axis=1)
    np.testing.assert_array_equal(epochs, np.tile(labelled, (5, 1)))
    batch = loader.batch(0)
    row = batch.state[:, -1, 0].tolist().index(3)
    assert batch.state[row, :, 0].tolist() == [1, 2, 3]
    assert batch.history_mask[row].tolist() == [True, True, True]  # what the policy saw is seen
    assert batch.action_mask[row].tolist() == [[False] * 3, [False] * 3, [True, True, False]]
    row = batch.state[:, -1, 0].tolist().index(6)
    assert batch.state[row, :, 0].tolist() == [5, 5, 6]
    assert batch.action_mask[row].tolist() == [
        [True, True, False], [True, True, False], [True, False, False],  # no chunk over the gap
    ]  # fmt: skip
    assert batch.action[row, 2, :, 0].tolist() == [6, 6, 6]


def test_labels_end_at_a_frame_without_one_or_with_the_episode() -> None:
    assert label_stop(corrected()).tolist() == [0, 1, 2, 5, 5, 7, 7, 7, 8, 10, 12, 12]
    assert label_stop(make_store([2, 3])).tolist() == [2, 2, 5, 5, 5]
    chunks = sample_chunks(corrected(), horizon=3, count=100)
    assert chunks[..., 0].tolist() == [
        [3, 4, 4], [4, 4, 4], [5, 6, 6], [6, 6, 6], [9, 9, 9], [10, 11, 11], [11, 11, 11],
    ]  # fmt: skip


def test_plain_video_has_windows_without_numbers() -> None:
    store = make_store([5, 3])
    store = replace(store, state=np.zeros((8, 0), np.float32), action=np.zeros((8, 0), np.float32))
    batch = WindowLoader(store, WindowConfig(batch_size=4, history=2, horizon=3)).batch(0)
    assert batch.image["top"].shape == (4, 2, 8, 8, 3)
    assert (batch.state.shape, batch.action.shape) == ((4, 2, 0), (4, 2, 3, 0))
    assert batch.history_mask.shape == (4, 2)
