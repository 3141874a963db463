import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eyehand.data.check import check_dataset
from eyehand.data.columns import Column, landmark_columns
from eyehand.data.encoding import encode_episode
from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe, load_statistics
from eyehand.data.store import open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode, InputError

MakeEpisode = Callable[..., Episode]
MakeWriter = Callable[..., DatasetWriter]
ChangeInfo = Callable[..., None]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same(one: Episode, two: Episode) -> None:
    assert (one.instruction, one.task, one.seed) == (two.instruction, two.task, two.seed)
    for field in ("state", "action", "landmarks", "action_mask"):
        assert (getattr(one, field) is None) == (getattr(two, field) is None)
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    for these, those in ((one.image, two.image), (one.columns, two.columns)):
        assert these.keys() == those.keys()
        for name in these:
            assert these[name].dtype == those[name].dtype
            np.testing.assert_array_equal(these[name], those[name])


@pytest.mark.parametrize("megabytes", [0.0001, 0.02])
def test_round_trip_over_any_number_of_files(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, megabytes: float
) -> None:
    cameras = ("top", "wrist")
    episodes = [make_episode(seed, 3 + seed, cameras=cameras) for seed in range(5)]
    with make_writer(tmp_path, cameras, video_file_megabytes=megabytes) as writer:
        for episode in episodes:
            writer.add(episode)
    dataset = Dataset(tmp_path)
    assert len(dataset) == sum(len(episode.state) for episode in episodes)
    for number, episode in enumerate(episodes):
        assert_same(dataset.episode(number), episode)
    files = len(list(tmp_path.glob("videos/*/*/*.mp4")))
    assert files == {0.0001: 10, 0.02: 4}[megabytes]
    assert not list(tmp_path.glob(".pending/*/"))


class Killed(BaseException):
    """What a kill looks like from inside."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Let the ``moment``-th change of the disk not happen, or only half of it, and all after it."""
    changes = 0

    def wrap(owner: Any, name: str, half: Callable[..., None] | None = None) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal changes
            changes += 1
            if changes > moment:
                if half is not None and changes == moment + 1:
                    half(*args)
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    def half_removed(path: Path) -> None:
        next(file for file in path.iterdir()).unlink()

    def half_written(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if changes > moment:  # whoever is killed clears nothing away
            raise Killed
        real_unlink(path, missing_ok=missing_ok)

    real_unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", unlink)
    wrap(shutil, "rmtree", half_removed)
    wrap(Path, "write_bytes", half_written)
    wrap(os, "replace")
    wrap(Path, "write_text", lambda path, _: path.touch())
    wrap(pq, "write_table", lambda _, path: path.touch())


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_begun_again_gives_the_same_files(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter,
    monkeypatch: pytest.MonkeyPatch, every: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it is slow, and no machine dies here
    episodes = [encode_episode(make_episode(seed, 6), fps=80) for seed in range(3)]

    def go_on(folder: Path) -> None:
        with make_writer(folder, video_file_megabytes=0.008) as writer:  # full after two
            assert [r.seed for r in writer.recorded] == list(range(len(writer.recorded)))
            for episode in episodes[len(writer.recorded) :]:
                writer.add_encoded(episode)

    go_on(tmp_path / "whole")
    want = contents(tmp_path / "whole")
    assert len(Dataset(tmp_path / "whole").episodes) == 3
    for moment in range(0, 1000, every):
        folder = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            kill_at(patch, moment)
            try:
                go_on(folder)
                break
            except Killed:
                pass
        if (folder / "meta/info.json").is_file():  # what is referenced is whole
            dataset = Dataset(folder)
            for number in range(len(dataset.episodes)):
                assert dataset.episode(number).seed == number
        go_on(folder)
        assert contents(folder) == want, f"killed at change {moment}"
    assert moment > 25


def test_killed_at_any_replacement_a_data_set_that_grows_can_be_read(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each file of ``meta`` has a checksum, and none is ever that of another moment."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it is slow, and no machine dies here
    episodes = [encode_episode(make_episode(seed, 6), fps=80) for seed in range(4)]

    def go_on(folder: Path, most: int = 4) -> None:
        with make_writer(folder) as writer:
            for episode in episodes[len(writer.recorded) : most]:
                writer.add_encoded(episode)

    go_on(tmp_path / "begun", 1)
    (tmp_path / "whole").mkdir()
    shutil.copytree(tmp_path / "begun", tmp_path / "whole", dirs_exist_ok=True)
    go_on(tmp_path / "whole")
    want, real = contents(tmp_path / "whole"), os.replace
    for moment in range(100):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "begun", folder)
        left = moment

        def replace_or_die(source: Path, target: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace_or_die)
            try:
                go_on(folder)
                break
            except Killed:
                pass
        dataset = Dataset(folder)
        assert [row.seed for row in dataset.episodes] in ([0], [0, 1, 2, 3])
        for row in dataset.episodes:
            assert dataset.episode(row.index).instruction == episodes[row.seed].instruction
        for name, found in load_statistics(dataset).items():
            frames = getattr(dataset.frames, name)
            np.testing.assert_array_equal(found.maximum, frames.max(axis=0))
        go_on(folder)
        assert contents(folder) == want, f"killed at replacement {moment}"
    assert moment == 14  # two for each of three episodes, six for their files, two at the end


@pytest.mark.parametrize("file", ["videos/observation.images.top", "data"])
def test_nothing_is_added_to_a_data_set_with_a_damaged_file(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, file: str
) -> None:
    with make_writer(tmp_path) as writer:
        writer.add(make_episode(0, 6))
    (path,) = (tmp_path / file / "chunk-000").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name} is not .*checksum"), make_writer(tmp_path):
        pass


@pytest.mark.parametrize("file", ["episode.json", "action.npy", "top.mp4"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_pending_episode_is_dropped_with_those_after_it(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter,
    caplog: pytest.LogCaptureFixture, file: str, damage: str,
) -> None:  # fmt: skip
    pend(tmp_path, make_episode, make_writer)
    path = tmp_path / ".pending/000001" / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 16
        path.write_bytes(content if damage == "flipped" else content[:-9])
    with make_writer(tmp_path) as writer:
        assert [recorded.seed for recorded in writer.recorded] == [0]
        assert len(caplog.messages) == 1
        assert file in caplog.text
        assert "Pending episodes from number 1 on, 2 in all, are dropped." in caplog.text
        writer.add(make_episode(7))
    assert [row.seed for row in Dataset(tmp_path).episodes] == [0, 7]


def pend(folder: Path, make_episode: MakeEpisode, make_writer: MakeWriter) -> None:
    """Leave three pending episodes, as a kill does."""
    writer = make_writer(folder)
    for seed in range(3):
        writer.add(make_episode(seed))
    writer.__exit__(KeyboardInterrupt)


def test_a_gap_in_the_pending_episodes_ends_them(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    pend(tmp_path / "set", make_episode, make_writer)
    precious, link = tmp_path / "precious", tmp_path / "set/.pending/000001"
    link.rename(precious)
    link.symlink_to(precious)
    make_writer(tmp_path / "set").close()
    assert [row.seed for row in Dataset(tmp_path / "set").episodes] == [0]
    assert (precious / "episode.json").is_file()
    pend(tmp_path / "other", make_episode, make_writer)
    shutil.rmtree(tmp_path / "other/.pending/000000")
    with make_writer(tmp_path / "other") as writer:
        assert writer.recorded == ()


def test_pending_episodes_that_are_damaged_meanwhile_are_named(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    writer = make_writer(tmp_path)
    writer.add(make_episode(0))
    (tmp_path / ".pending/000000/top.mp4").write_bytes(b"no film")
    with pytest.raises(InputError, match=r"top\.mp4 is truncated or altered"):
        writer.close()
    make_writer(tmp_path).close()
    assert not list(tmp_path.glob(".pending/0*"))


def test_pending_files_are_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    flushed, real = set[tuple[int, int]](), os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.add((status.st_dev, status.st_ino))
        real(descriptor)

    with make_writer(tmp_path) as writer:
        monkeypatch.setattr(os, "fsync", fsync)
        writer.add(make_episode(0))
        found = [tmp_path / ".pending/000000", *tmp_path.glob(".pending/000000/*")]
        assert len(found) == 5
        assert {(p.stat().st_dev, p.stat().st_ino) for p in found} <= flushed


def test_a_data_set_of_the_version_before_grows(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, change_info: ChangeInfo,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for name in ("old", "new"):
        with make_writer(tmp_path / name) as writer:
            writer.add(make_episode(0))
        if name == "old":
            change_info(tmp_path / name, lambda _: None)
            caplog.clear()
        with make_writer(tmp_path / name) as writer:
            writer.add(make_episode(1))
        if name == "old":
            assert len(caplog.messages) == 1
            assert "info.json has no checksum: damage to it would not be noticed" in caplog.text
            caplog.clear()
    assert contents(tmp_path / "old") == contents(tmp_path / "new")
    assert not caplog.messages


def test_files_of_another_program_are_not_written_over(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, change_info: ChangeInfo
) -> None:
    with make_writer(tmp_path) as writer:
        writer.add(make_episode(0))
    change_info(tmp_path, lambda _: None)
    table = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table.rename(table.with_name("file-001.parquet"))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"file-001\.parquet, data/.*another program wrote it"):
        make_writer(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["../../precious", "/precious", "", ".x"])
def test_names_that_no_file_can_have_are_not_written(
    tmp_path: Path, make_writer: MakeWriter, name: str
) -> None:
    with pytest.raises(InputError, match=r"camera .* has no name that a file can have"):
        make_writer(tmp_path / "set", cameras=(name,))
    with pytest.raises(InputError, match=r"a column cannot be named"):
        make_writer(tmp_path / "set", columns={name: Column()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".pending", "meta", "videos", "data/chunk-000"])
def test_nothing_is_written_through_a_link(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, place: str
) -> None:
    folder, outside = tmp_path / "set", tmp_path / "outside"
    outside.mkdir()
    (folder / place).parent.mkdir(parents=True)
    (folder / place).symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the data set"), make_writer(folder) as w:
        w.add(make_episode(0))
    assert not list(outside.iterdir())


def test_a_closed_data_set_grows(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    for seed in range(3):
        with make_writer(tmp_path) as writer:
            assert len(writer.recorded) == seed
            writer.add(make_episode(seed))
    dataset = Dataset(tmp_path)
    assert [row.seed for row in dataset.episodes] == [0, 1, 2]
    assert [row.start for row in dataset.episodes] == [0, 7, 14]
    assert json.loads((tmp_path / "meta/stats.json").read_bytes())["action"]["count"] == [21]
    assert_same(dataset.episode(2), make_episode(2))


def test_an_exception_leaves_what_is_pending(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    def interrupted() -> None:
        with make_writer(tmp_path) as writer:
            writer.add(make_episode(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "meta/info.json").exists()
    with make_writer(tmp_path) as writer:
        assert [recorded.seed for recorded in writer.recorded] == [0]
    assert_same(Dataset(tmp_path).episode(0), make_episode(0))


def test_one_writer_at_a_time(tmp_path: Path, make_writer: MakeWriter) -> None:
    with make_writer(tmp_path), pytest.raises(InputError, match="another process is recording"):
        make_writer(tmp_path)
    make_writer(tmp_path).close()


def test_other_features_are_refused(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    with make_writer(tmp_path) as writer:
        writer.add(make_episode(0))
        with pytest.raises(InputError, match=r"'task-1' with seed 1 .*wrist"):
            writer.add(make_episode(1, cameras=("wrist",)))
        with pytest.raises(InputError, match=r"'state': 9, .* is for .*'state': 3, "):
            writer.add(make_episode(1, state_dim=9))
    with pytest.raises(InputError, match=r"'fps': 80, .*the recording has \{'fps': 30,"):
        make_writer(tmp_path, fps=30)


POINTS = ("hand", "object", "goal")
FEATURE = "privileged.landmarks"


def test_landmarks_come_back_to_the_bit(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    episodes = [make_episode(seed, 3 + seed, landmarks=3) for seed in range(3)]
    with make_writer(tmp_path, landmarks=POINTS, video_file_megabytes=0.0001) as writer:
        writer.add(episodes[0])
    with make_writer(tmp_path, landmarks=POINTS, video_file_megabytes=0.0001) as writer:
        for episode in episodes[1:]:
            writer.add(episode)
    dataset = Dataset(tmp_path)
    for number, episode in enumerate(episodes):
        assert_same(dataset.episode(number), episode)
    everything = np.concatenate([episode.landmarks for episode in episodes])
    np.testing.assert_array_equal(dataset.frames.columns["landmarks"], everything)
    assert dataset.columns == landmark_columns(POINTS)
    check_dataset(tmp_path)
    feature = dataset.info["features"][FEATURE]
    assert feature["shape"] == [9]
    assert feature["names"][3:6] == ["object x", "object y", "object far"]
    flat = everything.reshape(len(dataset), 9)
    statistics = json.loads((tmp_path / "meta/stats.json").read_bytes())[FEATURE]
    assert statistics == describe(flat)
    (row,) = (
        row
        for path in tmp_path.glob("meta/episodes/*/*.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["episode_index"] == 1
    )
    assert row[f"stats/{FEATURE}/max"] == flat[3:7].max(axis=0).astype(float).tolist()


def test_no_policy_of_lerobot_takes_the_landmarks_for_an_input(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    """LeRobot's policies read every feature whose name begins with ``observation``."""
    info = Dataset(make_dataset(tmp_path, landmarks=POINTS)).info
    inputs = {name for name in info["features"] if name.startswith("observation")}
    assert inputs == {"observation.state", "observation.images.top"}
    assert not FEATURE.startswith(("observation", "action", "env"))


def test_a_data_set_without_landmarks_reads_as_none(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    dataset = Dataset(make_dataset(tmp_path))
    assert dataset.frames.columns == {}
    assert dataset.episode(1).landmarks is None
    assert FEATURE not in dataset.info["features"]
    assert FEATURE not in json.loads((tmp_path / "meta/stats.json").read_bytes())


def test_episodes_with_another_number_of_landmarks_are_refused(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    with make_writer(tmp_path / "with", landmarks=POINTS) as writer:
        writer.add(make_episode(0, landmarks=3))
        for landmarks in (0, 2):
            found = rf"\[{landmarks}, 3\]" if landmarks else r"'columns': \{\}"
            with pytest.raises(InputError, match=rf"{found}.* is for .*\[3, 3\]'\}}\}}\.$"):
                writer.add(make_episode(1, landmarks=landmarks))
    assert len(Dataset(tmp_path / "with").episodes) == 1
    with make_writer(tmp_path / "without") as writer:
        writer.add(make_episode(0))
        with pytest.raises(InputError, match=r"\[3, 3\].* is for .*'columns': \{\}\}\.$"):
            writer.add(make_episode(1, landmarks=3))
    with pytest.raises(InputError, match=r"\[3, 3\].*; the recording has .*\{\}\}\. Name another"):
        make_writer(tmp_path / "with")


def test_numbers_that_are_no_points_are_refused(
    tmp_path: Path, make_dataset: Callable[..., Path], change_info: Callable[..., None]
) -> None:
    make_dataset(tmp_path, landmarks=POINTS)
    change_info(tmp_path, lambda info: info["features"][FEATURE].update(shape=[8]))
    with pytest.raises(InputError, match=r"'privileged\.landmarks' of .* has 8 numbers; three"):
        Dataset(tmp_path)


COLUMNS = {
    "next.reward": Column(), "terminated": Column("bool"), "pose": Column("float64", (2, 3)),
    "contacts": Column("int64", (4,), ("a", "b", "c", "d")), "action_mask": Column("bool"),
}  # fmt: skip


def with_columns(episode: Episode, *, masked: bool) -> Episode:
    random = np.random.default_rng(episode.seed)
    length = len(episode)
    columns = {
        "next.reward": random.normal(size=length).astype(np.float32),
        "terminated": np.arange(length) == length - 1,
        "pose": random.normal(size=(length, 2, 3)),
        "contacts": random.integers(0, 2**40, (length, 4)),
    }
    mask = np.arange(length) > 2 if masked else None
    return replace(episode, columns=columns, action_mask=mask)


def test_named_columns_come_back_to_the_bit(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    episodes = [with_columns(make_episode(seed, 4 + seed), masked=seed < 2) for seed in range(3)]
    for some in (episodes[:1], episodes[1:]):
        with make_writer(tmp_path, columns=COLUMNS, video_file_megabytes=0.0001) as writer:
            for episode in some:
                writer.add(episode)
    dataset = Dataset(tmp_path)
    for number, episode in enumerate(episodes[:2]):
        assert_same(dataset.episode(number), episode)
    everywhere = np.ones(len(episodes[2]), bool)  # an episode that said nothing is all labels
    assert_same(dataset.episode(2), replace(episodes[2], action_mask=everywhere))
    assert dataset.columns == COLUMNS
    check_dataset(tmp_path)
    features = dataset.info["features"]
    assert features["next.reward"] == {"dtype": "float32", "shape": [1], "names": None}
    assert features["pose"]["shape"] == [2, 3]
    assert features["contacts"]["names"] == ["a", "b", "c", "d"]
    assert "action_mask" not in features  # LeRobot would take it for an action
    assert features["mask.action"]["dtype"] == "bool"
    statistics = json.loads((tmp_path / "meta/stats.json").read_bytes())
    assert statistics["pose"] == describe(dataset.frames.columns["pose"])
    assert statistics["terminated"]["mean"] == [3 / 15]
    with (
        make_writer(tmp_path / "plain") as writer,
        pytest.raises(InputError, match=r"'next\.reward': 'float32 \[\]'.* is for .*\{\}\}\.$"),
    ):
        writer.add(episodes[0])
    with pytest.raises(InputError, match=r"a column cannot be named 'timestamp'"):
        make_writer(tmp_path / "plain", columns={"timestamp": Column()})


def test_plain_video_is_a_data_set(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    episodes = [
        replace(
            make_episode(seed, 5),
            state=np.zeros((5, 0), np.float32),
            action=np.zeros((5, 0), np.float32),
            instruction="A cat walks by." if seed else "",
        )
        for seed in range(2)
    ]
    for episode in episodes:  # opened twice
        with make_writer(tmp_path, state_dim=0, action_dim=0) as writer:
            writer.add(episode)
    check_dataset(tmp_path)
    dataset = Dataset(tmp_path)
    for number, episode in enumerate(episodes):
        assert_same(dataset.episode(number), episode)
    batch = WindowLoader(open_store(tmp_path), WindowConfig(batch_size=4, history=2)).batch(0)
    assert batch.image["top"].shape == (4, 2, 16, 16, 3)
    assert batch.action.shape == (4, 2, 16, 0)
    assert set(batch.instruction) <= {"", "A cat walks by."}
    assert not {"action", "observation.state"} & set(dataset.info["features"])
    assert not {"action", "observation.state"} & set(
        pq.read_table(next(tmp_path.glob("data/*/*"))).column_names
    )
