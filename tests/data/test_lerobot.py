import hashlib
import io
import json
import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyehand.data import lerobot as lerobot_module
from eyehand.data.check import check_dataset
from eyehand.data.columns import Column
from eyehand.data.lerobot import Dataset
from eyehand.data.store import open_store
from eyehand.data.video import decode_video
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.types import Episode, InputError

MakeDataset = Callable[..., Path]
MakeEpisode = Callable[..., Episode]
ChangeInfo = Callable[..., None]
INFO, TASKS = "meta/info.json", "meta/tasks.parquet"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"


def read_all(folder: Path) -> None:
    dataset = Dataset(folder)
    for index in range(len(dataset.episodes)):
        dataset.episode(index)


def change_table(folder: Path, path: str, name: str, column: pa.Array) -> None:
    """Change one column, and forget the checksums, as another program would write the file."""
    info = json.loads((folder / INFO).read_bytes())
    kept = {key: value for key, value in info.items() if "checksum" not in key}
    (folder / INFO).write_text(json.dumps(kept))
    table = pq.read_table(folder / path)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), folder / path)
    episodes = pq.read_table(folder / EPISODES)
    kept = [n for n in episodes.column_names if not n.startswith("eyehand/checksum")]
    pq.write_table(episodes.select(kept), folder / EPISODES)


@pytest.mark.parametrize("path", [INFO, TASKS, DATA, EPISODES, VIDEO])
@pytest.mark.parametrize("kept", [0.0, 0.9])
def test_a_truncated_file_is_named(
    tmp_path: Path, make_dataset: MakeDataset, path: str, kept: float
) -> None:
    file = make_dataset(tmp_path) / path
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(InputError, match=rf"{Path(path).name}.* truncated or altered"):
        read_all(tmp_path)


@pytest.mark.parametrize("path", [INFO, TASKS, DATA, EPISODES, VIDEO])
def test_a_missing_file_is_named(tmp_path: Path, make_dataset: MakeDataset, path: str) -> None:
    (make_dataset(tmp_path) / path).unlink()
    with pytest.raises(InputError, match=rf"{path.split('/chunk')[0]}"):
        read_all(tmp_path)


@pytest.mark.parametrize("path", [DATA, VIDEO])
def test_one_altered_bit_is_noticed(tmp_path: Path, make_dataset: MakeDataset, path: str) -> None:
    file = make_dataset(tmp_path) / path
    content = bytearray(file.read_bytes())
    for place in range(4, len(content), len(content) // 5):
        content[place] ^= 4
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf"{file.name} is not the file that was recorded"):
            read_all(tmp_path)
        content[place] ^= 4


def everything(folder: Path) -> str:
    """Return what a reader gets of a data set and its frame store, as one checksum."""
    dataset, store = Dataset(folder), open_store(folder)
    parts: list[Any] = [dataset.info, dataset.sentences, dataset.episodes, store.sentences]
    parts += [store.episode_task, store.state, store.action]
    for mapping in (vars(dataset.frames), dataset.frames.columns, store.columns):
        parts += mapping.values()
    parts += [number for found in store.statistics.values() for number in vars(found).values()]
    parts += [p for name in dataset.cameras for _, p in dataset.images(name)]
    parts += [part for film in store.image.values() for part in film.parts]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return whole.hexdigest()


@pytest.mark.parametrize(
    ("has_checksums", "count"),
    [
        (True, 96),
        (False, 32),
        *(pytest.param(c, 3000, marks=pytest.mark.slow) for c in (True, False)),
    ],
)
def test_no_damage_is_silent_or_a_traceback(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, count: int,
    has_checksums: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A flip or a cut of any file; in a data set without checksums it may be silent."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    make_dataset(tmp_path, (5, 5, 5), landmarks=("hand",))
    if not has_checksums:
        names = ["eyehand/checksum/data", "eyehand/checksum/observation.images.top"]
        change_info(tmp_path, lambda _: None)
        pq.write_table(pq.read_table(tmp_path / EPISODES).drop_columns(names), tmp_path / EPISODES)
    want = everything(tmp_path)
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size)
    assert len(files) == 8  # info, stats, tasks, episodes, data, film; frames and their manifest
    random = np.random.default_rng(0)
    kept = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    for number in range(count):
        file = files[number % len(files)]
        damaged = bytearray(kept[file][0])
        place = int(random.integers(len(damaged)))
        if number // len(files) % 4 == 3:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << int(random.integers(8))
        file.write_bytes(damaged)
        os.utime(file, ns=(kept[file][1],) * 2)
        try:
            found = everything(tmp_path)
        except InputError as error:
            found = want if len(str(error).splitlines()) == 1 else str(error)
        assert found == want or not has_checksums, (file, place)
        for path, (content, modified) in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
                os.utime(path, ns=(modified, modified))
    assert everything(tmp_path) == want


def test_what_lerobot_writes_on_top_is_read_or_refused_in_one_sentence(
    tmp_path: Path, make_dataset: MakeDataset, caplog: pytest.LogCaptureFixture
) -> None:
    """0.4 and 0.5 keep entries that they do not know, 0.6 drops them."""
    before = json.loads((make_dataset(tmp_path) / INFO).read_bytes())
    rewritten = before | {"robot_type": "arm"}
    (tmp_path / INFO).write_text(json.dumps(rewritten))
    with pytest.raises(InputError, match=r"info\.json is not as it was written .* 'checksum'\.$"):
        Dataset(tmp_path)
    del rewritten["checksum"]
    (tmp_path / INFO).write_text(json.dumps(rewritten))
    read_all(tmp_path)
    content = (tmp_path / TASKS).read_bytes()
    pq.write_table(pq.read_table(tmp_path / TASKS), tmp_path / TASKS, compression="gzip")
    with pytest.raises(InputError, match=r"tasks\.parquet is not .* 'file_checksums' of meta/info"):
        Dataset(tmp_path)
    del rewritten["file_checksums"]
    (tmp_path / INFO).write_text(json.dumps(rewritten))
    read_all(tmp_path)
    assert [line.partition("info.json ")[2] for line in caplog.messages] == [
        "has no checksum: damage to it would not be noticed."
    ]
    (tmp_path / INFO).write_text(json.dumps(before))
    (tmp_path / TASKS).write_bytes(content)
    caplog.clear()
    read_all(tmp_path)
    assert not caplog.messages


def test_altered_totals_are_noticed(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    change_info(make_dataset(tmp_path), lambda info: info.update(total_frames=19))
    with pytest.raises(InputError, match=r"promises 3 episodes with 19 frames.* have 3 with 20"):
        Dataset(tmp_path)
    make_dataset(tmp_path)
    change_info(tmp_path, lambda info: info.update(total_episodes=4, total_frames=20))
    with pytest.raises(InputError, match="promises 4 episodes with 20 frames"):
        Dataset(tmp_path)


def test_wrong_types_are_named(tmp_path: Path, make_dataset: MakeDataset) -> None:
    make_dataset(tmp_path)
    change_table(tmp_path, DATA, "action", pa.array([["a", "b"]] * 20))
    with pytest.raises(InputError, match="'action' .* 2 floating-point numbers a frame"):  # noqa: RUF043
        read_all(tmp_path)


def test_numbers_that_are_not_finite_are_named(tmp_path: Path, make_dataset: MakeDataset) -> None:
    make_dataset(tmp_path)
    feature = "observation.state"
    values = np.array(pq.read_table(tmp_path / DATA)[feature].to_pylist(), np.float32)
    values[13, 1] = np.nan  # episodes of 7, 1 and 12 frames
    change_table(tmp_path, DATA, feature, pa.array(values.tolist(), pa.list_(pa.float32())))
    with pytest.raises(InputError, match=rf"{feature}.*nan.* in episode 2, frame 5"):
        read_all(tmp_path)


def test_columns_of_others_are_read_as_they_are(
    tmp_path: Path, make_dataset: MakeDataset, make_writer: Callable[..., Any],
    make_episode: MakeEpisode,
) -> None:  # fmt: skip
    """LeRobot writes single numbers as plain columns, and may keep what is not finite."""
    episode = make_episode(0)
    force = np.full((7, 2), 3.0, np.float32)
    with make_writer(tmp_path, columns={"force": Column("float32", (2,))}) as writer:
        writer.add(replace(episode, columns={"force": force}))
    with_nan = pa.array([[1.0, float("nan")]] + [[3.0, 3.0]] * 6, pa.list_(pa.float64()))
    change_table(tmp_path, DATA, "force", with_nan)
    assert np.isnan(Dataset(tmp_path).frames.columns["force"][0, 1])
    with pytest.raises(InputError, match=r"'force' .*nan.* in episode 0, frame 0"):
        check_dataset(tmp_path)
    change_table(tmp_path, DATA, "force", pa.array([["a", "b"]] * 7))
    with pytest.raises(InputError, match="'force' .* 2 float32 numbers a frame"):  # noqa: RUF043
        read_all(tmp_path)


def test_unknown_names(tmp_path: Path, make_dataset: MakeDataset) -> None:
    dataset = Dataset(make_dataset(tmp_path))
    with pytest.raises(InputError, match=r"no camera 'tip'. Did you mean 'top'"):
        next(dataset.images("tip"))
    with pytest.raises(InputError, match="has the episodes 0 to 2. Got 3"):  # noqa: RUF043
        dataset.episode(3)


def test_what_lies_beyond_the_totals_is_not_read(
    tmp_path: Path, make_dataset: MakeDataset, make_writer: Callable[..., Any],
    make_episode: MakeEpisode,
) -> None:  # fmt: skip
    info = (make_dataset(tmp_path) / INFO).read_bytes()
    with make_writer(tmp_path) as writer:
        writer.add(make_episode(9))
    (tmp_path / INFO).write_bytes(info)  # as if killed just before
    dataset = Dataset(tmp_path)
    assert len(dataset) == len(dataset.frames.state) == 20
    assert [number for number, _ in dataset.images("top")] == list(range(20))


def test_rows_beyond_the_totals_in_the_same_file_are_not_read(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    make_dataset(tmp_path)
    change_info(tmp_path, lambda info: info.update(total_episodes=2, total_frames=8))
    dataset = Dataset(tmp_path)
    assert len(dataset) == len(dataset.frames.state) == 8
    assert [number for number, _ in dataset.images("top")] == list(range(8))


def test_a_frame_that_is_missing_within_a_video_is_noticed(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_gap(*args: Any, **settings: Any) -> Iterator[tuple[int, np.ndarray]]:
        return (found for found in decode_video(*args, **settings) if found[0] != 3)

    monkeypatch.setattr(lerobot_module, "decode_video", with_gap)
    with pytest.raises(InputError, match=r"holds 3 of the 7 frames of episode 0"):
        list(Dataset(make_dataset(tmp_path)).images("top"))


def picture_dataset(folder: Path, feature: str, shape: list[int], names: list[str]) -> np.ndarray:
    """A data set as LeRobot writes it with ``use_videos=False``: pictures inside the parquet."""
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)

    def png(picture: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        return file.getvalue()

    number = np.arange(5)
    data = {
        feature: pa.array([{"bytes": png(p), "path": None} for p in pictures]),
        "observation.state": pa.array(number.astype(np.float32)),  # one number: a plain column
        "action": pa.array(np.ones((5, 2)).tolist(), pa.list_(pa.float64())),
        "timestamp": pa.array((number / 10).astype(np.float32)),
        "frame_index": pa.array(number),
        "episode_index": pa.array(np.zeros(5, int)),
        "index": pa.array(number),
        "task_index": pa.array(np.zeros(5, int)),
    }
    episode = {
        "episode_index": 0, "length": 5, "tasks": ["Stack."], "dataset_from_index": 0,
        "dataset_to_index": 5, "data/chunk_index": 0, "data/file_index": 0,
    }  # fmt: skip
    info = {
        "codebase_version": "v3.0", "fps": 10, "total_episodes": 1, "total_frames": 5,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": {
            feature: {"dtype": "image", "shape": shape, "names": names},
            "observation.state": {"dtype": "float32", "shape": [1], "names": ["x"]},
            "action": {"dtype": "float64", "shape": [2], "names": ["x", "y"]},
        },
    }  # fmt: skip
    for path in (DATA, EPISODES):
        (folder / path).parent.mkdir(parents=True)
    pq.write_table(pa.table(data), folder / DATA)
    pq.write_table(pa.Table.from_pylist([episode]), folder / EPISODES)
    pq.write_table(pa.table({"task_index": [0], "task": ["Stack."]}), folder / TASKS)
    (folder / INFO).write_text(json.dumps(info))
    return pictures


@pytest.mark.parametrize(
    ("feature", "camera", "shape", "names"),
    [
        ("observation.image", "image", [8, 10, 3], ["height", "width", "channels"]),
        ("observation.images.top", "top", [3, 8, 10], ["channels", "height", "width"]),
        ("observation.images.top", "top", [3, 8, 10], ["channel", "height", "width"]),
    ],
)
def test_pictures_inside_the_parquet(
    tmp_path: Path, feature: str, camera: str, shape: list[int], names: list[str]
) -> None:
    pictures = picture_dataset(tmp_path, feature, shape, names)
    check_dataset(tmp_path)
    episode = Dataset(tmp_path).episode(0)
    assert (episode.instruction, episode.task, episode.seed) == ("Stack.", "", -1)
    np.testing.assert_array_equal(episode.image[camera], pictures)
    np.testing.assert_array_equal(episode.state[:, 0], np.arange(5))
    assert episode.action.dtype == np.float32
    config = WindowConfig(batch_size=12, random_shift=0, color_jitter=0.0)
    batch = WindowLoader(open_store(tmp_path, image_size=8), config).batch(0)
    assert batch.image[camera].shape == (12, 1, 8, 8, 3)
    (tmp_path / DATA).write_bytes((tmp_path / DATA).read_bytes()[:-9])
    with pytest.raises(InputError, match=r"file-000\.parquet .*truncated"):
        read_all(tmp_path)


@pytest.fixture(scope="module")
def peer() -> str:
    """The Python of an environment with lerobot: the one named, or one made once (gigabytes)."""
    if "EYEHAND_LEROBOT_PYTHON" in os.environ:
        return os.environ["EYEHAND_LEROBOT_PYTHON"]
    folder = Path.home() / ".cache/eyehand/peer-lerobot"
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "torch==2.9.1", "torchvision==0.24.1"], check=True)
        subprocess.run([*pip, "lerobot==0.4.4"], check=True)
        (folder / "ready").touch()
    return str(python)


def run_peer(peer: str, script: str, *arguments: object) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [peer, "-c", script, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


READ = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("eyehand/test", root=sys.argv[1], video_backend="pyav")
items = [dataset[number] for number in range(len(dataset))]
columns = {
    name: np.stack([np.asarray(item[name]) for item in items])
    for name in items[0] if name != "task"
}
stats = {f"stats/{f}/{k}": v for f, s in dataset.meta.stats.items() for k, v in s.items()}
np.savez(
    sys.argv[2], **columns, **stats, task=np.array([item["task"] for item in items]),
    episodes=dataset.num_episodes, fps=dataset.fps,
    names=np.array([row["eyehand/task"] for row in dataset.meta.episodes]),
)
"""


@pytest.mark.slow
def test_lerobot_reads_what_we_write(
    tmp_path: Path, peer: str, make_writer: Callable[..., Any], make_episode: MakeEpisode
) -> None:
    cameras = ("top", "wrist")
    episodes = [make_episode(seed, 3 + 5 * seed, cameras=cameras) for seed in range(7)]
    columns = {"reward": Column(), "pose": Column("float32", (2, 3)), "action_mask": Column("bool")}
    pose = np.random.default_rng(0).normal(size=(33, 2, 3)).astype(np.float32)
    with make_writer(
        tmp_path / "set", cameras, video_file_megabytes=0.05, columns=columns
    ) as writer:
        for episode in episodes:
            reward = np.arange(len(episode), dtype=np.float32)
            held = {"reward": reward, "pose": pose[: len(episode)]}
            writer.add(replace(episode, columns=held, action_mask=reward > 1))
    assert len(list(tmp_path.rglob("*.mp4"))) >= 4
    run_peer(peer, READ, tmp_path / "set", tmp_path / "read.npz")
    read = np.load(tmp_path / "read.npz")
    lengths = [len(episode.state) for episode in episodes]
    steps = np.concatenate([np.arange(length) for length in lengths])
    assert (read["episodes"], read["fps"]) == (7, 80)
    for name, field in (("observation.state", "state"), ("action", "action")):
        want = np.concatenate([getattr(episode, field) for episode in episodes])
        np.testing.assert_array_equal(read[name], want)
        np.testing.assert_allclose(read[f"stats/{name}/mean"], want.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(read["timestamp"], (steps / 80).astype(np.float32))
    np.testing.assert_array_equal(read["frame_index"], steps)
    np.testing.assert_array_equal(read["reward"], steps)
    np.testing.assert_array_equal(read["mask.action"], steps > 1)
    np.testing.assert_array_equal(read["pose"], pose[steps])
    np.testing.assert_allclose(read["stats/pose/mean"], pose[steps].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(read["index"], np.arange(sum(lengths)))
    np.testing.assert_array_equal(read["episode_index"], np.repeat(np.arange(7), lengths))
    assert read["task"].tolist() == [e.instruction for e in episodes for _ in e.state]
    assert read["names"].tolist() == [episode.task for episode in episodes]
    for camera in cameras:
        films = np.concatenate([episode.image[camera] for episode in episodes])
        theirs = (read[f"observation.images.{camera}"] * 255).round().transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(theirs, films)
        assert read[f"stats/observation.images.{camera}/mean"].shape == (3, 1, 1)


WRITE = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

random = np.random.default_rng(0)
kind, folder = sys.argv[1], sys.argv[2]
image = {"dtype": kind, "shape": (64, 96, 3), "names": ["height", "width", "channels"]}
dataset = LeRobotDataset.create(
    "eyehand/test", fps=30, root=folder, use_videos=kind == "video",
    features={
        "observation.images.top": image,
        "observation.image": image,
        "observation.state": {"dtype": "float32", "shape": (7,), "names": None},
        "action": {"dtype": "float32", "shape": (5,), "names": None},
        "reward": {"dtype": "float32", "shape": (1,), "names": None},
        "pose": {"dtype": "float32", "shape": (2, 3), "names": None},
    },
)
rows, column = np.mgrid[:64, :96]
for episode in range(3):
    for step in range(8 + 4 * episode):
        picture = np.stack([rows * 3, column * 2, 0 * rows + 20 * step], axis=2).astype(np.uint8)
        dataset.add_frame({
            "observation.images.top": picture,
            "observation.image": 255 - picture,
            "observation.state": random.normal(size=7).astype(np.float32),
            "action": random.normal(size=5).astype(np.float32),
            "reward": np.array([step / 8], np.float32),
            "pose": random.normal(size=(2, 3)).astype(np.float32),
            "task": ["Fold.", "Open."][episode % 2],
        })
    dataset.save_episode()
dataset.finalize()
dataset = LeRobotDataset("eyehand/test", root=folder, video_backend="pyav")
items = [dataset[number] for number in range(len(dataset))]
np.savez(
    sys.argv[3], task=np.array([item["task"] for item in items]),
    **{n: np.stack([np.asarray(i[n]) for i in items]) for n in items[0] if n != "task"},
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "image"])
def test_we_read_what_lerobot_writes(tmp_path: Path, peer: str, kind: str) -> None:
    run_peer(peer, WRITE, kind, tmp_path / "set", tmp_path / "theirs.npz")
    theirs = np.load(tmp_path / "theirs.npz")
    check_dataset(tmp_path / "set")
    dataset = Dataset(tmp_path / "set")
    assert (dataset.fps, dataset.state_dim, dataset.action_dim) == (30, 7, 5)
    assert list(dataset.cameras) == ["top", "image"]
    episodes = [dataset.episode(number) for number in range(3)]
    assert [len(episode.state) for episode in episodes] == [8, 12, 16]
    for name, field in (("observation.state", "state"), ("action", "action")):
        ours = np.concatenate([getattr(episode, field) for episode in episodes])
        np.testing.assert_array_equal(ours, theirs[name])
    for name in ("reward", "pose"):
        ours = np.concatenate([episode.columns[name] for episode in episodes])
        np.testing.assert_array_equal(ours, theirs[name].reshape(ours.shape))
    sentences = [e.instruction for e in episodes for _ in e.state]
    assert sentences == theirs["task"].tolist()
    for camera, feature in (("top", "observation.images.top"), ("image", "observation.image")):
        ours = np.concatenate([episode.image[camera] for episode in episodes]).astype(int)
        want = (theirs[feature] * 255).round().transpose(0, 2, 3, 1)
        assert np.abs(ours - want).max() <= 2  # two versions of FFmpeg
    store = open_store(tmp_path / "set", image_size=32)
    batches = WindowLoader(store, WindowConfig(batch_size=50, history=2)).batches()
    batch = next(batches)
    assert batch.image["top"].shape == (50, 2, 32, 32, 3)
    assert batch.action.shape == (50, 2, 16, 5)
    batches.close()  # type: ignore[attr-defined]
