import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eyehand.data.check import check_dataset
from eyehand.data.encoding import encode_episode
from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode, InputError

MakeEpisode = Callable[..., Episode]
MakeWriter = Callable[..., DatasetWriter]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same(one: Episode, two: Episode) -> None:
    assert (one.instruction, one.task, one.seed) == (two.instruction, two.task, two.seed)
    np.testing.assert_array_equal(one.state, two.state)
    np.testing.assert_array_equal(one.action, two.action)
    assert one.image.keys() == two.image.keys()
    for name in one.image:
        np.testing.assert_array_equal(one.image[name], two.image[name])
    assert (one.landmarks is None) == (two.landmarks is None)
    if one.landmarks is not None:
        np.testing.assert_array_equal(one.landmarks, two.landmarks)


@pytest.mark.parametrize("megabytes", [0.0001, 0.02, 50.0])
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
    assert files == {0.0001: 10, 0.02: 4, 50.0: 2}[megabytes]
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

    wrap(shutil, "rmtree", half_removed)
    wrap(Path, "write_bytes", half_written)
    wrap(Path, "rename")
    wrap(Path, "replace")
    wrap(np, "save")
    wrap(pq, "write_table", lambda _, path: path.touch())


def test_killed_at_any_moment_and_begun_again_gives_the_same_files(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    episodes = [encode_episode(make_episode(seed, 6), fps=80) for seed in range(3)]

    def go_on(folder: Path) -> None:
        with make_writer(folder, video_file_megabytes=0.008) as writer:  # full after two
            assert [r.seed for r in writer.recorded] == list(range(len(writer.recorded)))
            for episode in episodes[len(writer.recorded) :]:
                writer.add_encoded(episode)

    go_on(tmp_path / "whole")
    want = contents(tmp_path / "whole")
    assert len(Dataset(tmp_path / "whole").episodes) == 3
    for moment in range(1000):
        folder = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(monkeypatch, moment)
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
        with pytest.raises(InputError, match=r"\(9, 2, 0\).*\(3, 2, 0\)"):
            writer.add(make_episode(1, state_dim=9))
    with pytest.raises(InputError, match=r"80, .*the recording has \(30,"):
        make_writer(tmp_path, fps=30)


@pytest.mark.parametrize("feature", ["state", "action", "landmarks"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(
    make_episode: MakeEpisode, feature: str, value: float
) -> None:
    episode = make_episode(3, landmarks=2)
    getattr(episode, feature)[5, 1] = value
    with pytest.raises(InputError, match=rf"'task-1' with seed 3 has the {feature} .* at frame 5"):
        encode_episode(episode, fps=80)


def test_lengths_that_differ_are_refused(make_episode: MakeEpisode) -> None:
    episode = make_episode(0)
    film = episode.image["top"]
    episode.image["top"] = film[:-1]  # type: ignore[index]  # built right, then spoilt
    with pytest.raises(InputError, match=r"'action': 7, 'top': 6"):
        encode_episode(episode, fps=80)
    episode.image["top"] = film  # type: ignore[index]
    with pytest.raises(InputError, match="has no instruction"):
        encode_episode(replace(episode, instruction=" "), fps=80)
    episode = make_episode(0, landmarks=2)
    episode.landmarks.resize((6, 2, 3), refcheck=False)  # built right, then spoilt
    with pytest.raises(InputError, match=r"'action': 7, 'top': 7, 'landmarks': 6"):
        encode_episode(episode, fps=80)


POINTS = ("hand", "object", "goal")
FEATURE = "privileged.landmarks"


@pytest.mark.parametrize("megabytes", [0.0001, 50.0])
def test_landmarks_come_back_to_the_bit(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter, megabytes: float
) -> None:
    episodes = [make_episode(seed, 3 + seed, landmarks=3) for seed in range(3)]
    with make_writer(tmp_path, landmarks=POINTS, video_file_megabytes=megabytes) as writer:
        writer.add(episodes[0])
    with make_writer(tmp_path, landmarks=POINTS, video_file_megabytes=megabytes) as writer:
        for episode in episodes[1:]:
            writer.add(episode)
    dataset = Dataset(tmp_path)
    for number, episode in enumerate(episodes):
        assert_same(dataset.episode(number), episode)
    everything = np.concatenate([episode.landmarks for episode in episodes])
    np.testing.assert_array_equal(dataset.frames.landmarks, everything)
    assert dataset.landmark_dim == 9
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
    assert dataset.frames.landmarks is None
    assert dataset.episode(1).landmarks is None
    assert dataset.landmark_dim == 0
    assert FEATURE not in dataset.info["features"]
    assert FEATURE not in json.loads((tmp_path / "meta/stats.json").read_bytes())


def test_episodes_with_another_number_of_landmarks_are_refused(
    tmp_path: Path, make_episode: MakeEpisode, make_writer: MakeWriter
) -> None:
    with make_writer(tmp_path / "with", landmarks=POINTS) as writer:
        writer.add(make_episode(0, landmarks=3))
        for landmarks in (0, 2):
            with pytest.raises(InputError, match=rf"2, {3 * landmarks}\)\).*2, 9\)\)\.$"):
                writer.add(make_episode(1, landmarks=landmarks))
    assert len(Dataset(tmp_path / "with").episodes) == 1
    with make_writer(tmp_path / "without") as writer:
        writer.add(make_episode(0))
        with pytest.raises(InputError, match=r"landmarks, of .*2, 9\)\).*2, 0\)\)\.$"):
            writer.add(make_episode(1, landmarks=3))
    with pytest.raises(InputError, match=r"2, 9\)\); the recording has .*2, 0\)\)\. Name another"):
        make_writer(tmp_path / "with")


def test_numbers_that_are_no_points_are_refused(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    make_dataset(tmp_path, landmarks=POINTS)
    path = tmp_path / "meta/info.json"
    info = json.loads(path.read_bytes())
    info["features"][FEATURE]["shape"] = [8]
    path.write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"'privileged\.landmarks' of .* has 8 numbers; three"):
        Dataset(tmp_path)
