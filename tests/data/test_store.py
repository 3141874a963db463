import errno
import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyehand.data import store as store_module
from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe, to_statistics
from eyehand.data.store import Pictures, join_stores, open_store
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode, InputError

MakeDataset = Callable[..., Path]
MakeEpisode = Callable[..., Episode]
ChangeInfo = Callable[..., None]
SIZE = 16


@pytest.fixture
def folder(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    return make_dataset(tmp_path / "set", (7, 1, 12) * 4)


def frames_of(folder: Path) -> np.ndarray:
    dataset = Dataset(folder)
    return np.concatenate([dataset.episode(i).image["top"] for i in range(len(dataset.episodes))])


def every(pictures: Pictures) -> np.ndarray:
    return np.stack([pictures[number] for number in range(len(pictures))])


def built(folder: Path, size: str = "original") -> int:
    """Which build this is: a new one has a new file."""
    return (folder / ".frames" / size / "manifest.json").stat().st_ino


def test_the_store_holds_every_frame(folder: Path) -> None:
    store = open_store(folder)
    np.testing.assert_array_equal(every(store.image["top"]), frames_of(folder))
    frames = Dataset(folder).frames
    np.testing.assert_array_equal(store.state, frames.state)
    np.testing.assert_array_equal(store.action, frames.action)
    assert len(store) == 80
    assert store.episode_start.tolist()[:4] == [0, 7, 8, 20]
    assert store.episode_length.tolist()[:4] == [7, 1, 12, 7]
    assert [store.sentences[n] for n in store.sentence[[0, 7, 8]]] == [
        "Do number 0.", "Do number 1.", "Do number 2.",
    ]  # fmt: skip
    assert set(store.statistics) == {"state", "action"}
    with pytest.raises(ValueError, match="read-only"):
        store.image["top"][0][...] = 0


@pytest.mark.parametrize("size", [4, 8])
def test_scaling_down_averages_blocks(folder: Path, size: int) -> None:
    small = every(open_store(folder, image_size=size).image["top"])
    block = SIZE // size
    shape = (-1, size, block, size, block, 3)
    want = frames_of(folder).reshape(shape).mean(axis=(2, 4))
    assert np.abs(small - want).max() <= 1


def test_other_sizes_match_the_box_filter(folder: Path) -> None:
    scaled = open_store(folder, image_size=11).image["top"]
    first = Image.fromarray(frames_of(folder)[0]).resize((11, 11), Image.Resampling.BOX)
    np.testing.assert_array_equal(scaled[0], np.asarray(first))


def test_a_right_store_is_not_built_again(folder: Path) -> None:
    open_store(folder)
    before = built(folder)
    open_store(folder, image_size=8)
    open_store(folder)
    assert built(folder) == before


@pytest.mark.parametrize(
    "damage", ["truncated", "missing", "manifest", "half manifest", "same time"]
)
def test_a_damaged_store_is_noticed_and_built_anew(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(folder)
    path = folder / ".frames/original/top.npy"
    content, status = bytearray(path.read_bytes()), path.stat()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "same time":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        (path.parent / "manifest.json").unlink()
    else:
        (path.parent / "manifest.json").write_text('{"checksums": [')
    np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))
    assert "is built anew" in caplog.text
    before = built(folder)
    open_store(folder)
    assert built(folder) == before


def test_a_grown_data_set_is_built_anew(
    folder: Path, make_writer: Callable[..., object], make_episode: MakeEpisode
) -> None:
    open_store(folder)
    with make_writer(folder) as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(50, 9))
    assert len(open_store(folder)) == 89
    np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))


def test_a_build_that_fails_leaves_nothing_that_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_checksums", fail)
        with pytest.raises(KeyboardInterrupt):
            open_store(folder)
    assert not (folder / ".frames/original").exists()
    np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))


def test_a_truncated_video_is_named(folder: Path) -> None:
    path = next(folder.rglob("*.mp4"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"file-000\.mp4 .*truncated or altered"):
        open_store(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"file-000\.mp4 is missing"):
        open_store(folder)


def test_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="`image_size` must be at least 1 pixel. Got 0"):  # noqa: RUF043
        open_store(folder, image_size=0)
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(InputError, match=r"0\.0 GB are free"):
        open_store(folder)


def test_the_manifest_names_its_sources(folder: Path) -> None:
    open_store(folder)
    manifest = json.loads((folder / ".frames/original/manifest.json").read_bytes())
    assert list(manifest["sources"]) == ["videos/observation.images.top/chunk-000/file-000.mp4"]
    assert manifest["shapes"] == {"top": [80, SIZE, SIZE, 3]}


POINTS = ("hand", "goal")


def test_landmarks_and_tasks_are_in_the_store(tmp_path: Path, make_dataset: MakeDataset) -> None:
    store = open_store(make_dataset(tmp_path / "set", landmarks=POINTS))
    np.testing.assert_array_equal(
        store.columns["landmarks"], Dataset(tmp_path / "set").frames.columns["landmarks"]
    )
    assert store.columns["landmarks"].shape == (20, 2, 3)
    assert store.episode_task == ("task-0", "task-1", "task-0")


def test_pictures_go_on_from_part_to_part() -> None:
    numbers = np.arange(7, dtype=np.uint8)
    frames = np.broadcast_to(numbers[:, None, None, None], (7, 4, 5, 3))
    pictures = Pictures([frames[:3], frames[3:4], frames[4:]])
    assert (len(pictures), pictures.size) == (7, (4, 5))
    np.testing.assert_array_equal(every(pictures), frames)
    assert all(np.shares_memory(pictures[number], frames[number]) for number in range(7))
    with pytest.raises(IndexError):
        pictures[7]


@pytest.mark.parametrize("landmarks", [(), POINTS])
def test_joined_stores_are_one_after_another(
    tmp_path: Path, make_dataset: MakeDataset, landmarks: tuple[str, ...]
) -> None:
    """Seed 1 is told what seed 4 is told: a sentence that the second data set numbers otherwise."""
    folders = [
        make_dataset(tmp_path / "one", (7, 1), landmarks=landmarks),
        make_dataset(tmp_path / "two", (4, 5, 3), first=2, landmarks=landmarks),
    ]
    stores = [open_store(folder) for folder in folders]
    joined = join_stores(stores)
    np.testing.assert_array_equal(
        every(joined.image["top"]), np.concatenate([frames_of(folder) for folder in folders])
    )
    for name in ("state", "action"):
        np.testing.assert_array_equal(
            getattr(joined, name), np.concatenate([getattr(store, name) for store in stores])
        )
    assert set(joined.columns) == ({"landmarks"} if landmarks else set())
    for name, values in joined.columns.items():
        want = np.concatenate([store.columns[name] for store in stores])
        np.testing.assert_array_equal(values, want)
    told = [store.sentences[number] for store in stores for number in store.sentence]
    assert [joined.sentences[number] for number in joined.sentence] == told
    assert joined.sentences == ("Do number 0.", "Do number 1.", "Do number 2.")
    assert stores[1].sentences != joined.sentences
    assert joined.episode_start.tolist() == [0, 7, 8, 12, 17]
    assert joined.episode_length.tolist() == [7, 1, 4, 5, 3]
    assert joined.episode_task == ("task-0", "task-1", "task-0", "task-1", "task-0")
    for name in ("state", "action"):
        want = to_statistics(describe(getattr(joined, name)))
        for field in fields(want):
            found = getattr(joined.statistics[name], field.name)
            np.testing.assert_array_equal(found, getattr(want, field.name))


def test_one_store_joined_is_itself(folder: Path) -> None:
    store = open_store(folder)
    assert join_stores([store]) is store


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({}, 8, r"Got \{'pictures': \{'top': \(16, 16\)\}.* and \{'pictures': \{'top': \(8, 8\)\}"),
        ({"cameras": ("side",)}, None, r"\{'top': .* and .*\{'side': "),
        ({"landmarks": POINTS}, None, r"\{\}\} and .*'landmarks': 'float32 \[2, 3\]'\}"),
        ({"state_dim": 5}, None, r"'state': 3, .* and .*'state': 5, "),
    ],
)
def test_stores_that_differ_are_not_joined(
    folder: Path, tmp_path: Path, make_writer: Callable[..., DatasetWriter],
    make_episode: MakeEpisode, settings: dict[str, Any], size: int | None, message: str,
) -> None:  # fmt: skip
    alike = settings | {"landmarks": len(settings.get("landmarks", ()))}
    with make_writer(tmp_path / "other", **settings) as writer:
        writer.add(make_episode(0, **alike))
    stores = [open_store(folder), open_store(tmp_path / "other", image_size=size)]
    with pytest.raises(InputError, match=message) as error:
        join_stores(stores)
    assert "must have the same cameras, sizes of pictures" in str(error.value)


def test_a_store_without_an_action_mask_joins_one_with_it(folder: Path) -> None:
    """Demonstrations and corrections are trained on together."""
    store = open_store(folder)
    mask = np.arange(len(store)) > 30
    joined = join_stores([store, replace(store, columns={"action_mask": mask})])
    want = np.concatenate([np.ones(len(store), bool), mask])
    np.testing.assert_array_equal(joined.columns["action_mask"], want)
    assert store.columns == {}


def test_what_is_needed_and_missing_is_named(folder: Path, change_info: ChangeInfo) -> None:
    with pytest.raises(InputError, match=r"no feature 'privileged\.landmarks', which is needed"):
        open_store(folder, needed=("state", "action", "landmarks"))
    change_info(folder, lambda info: info["features"].pop("action"))
    with pytest.raises(InputError, match=r"no feature 'action'.*it has: observation\.state, "):
        open_store(folder, needed=("action",))
    store = open_store(folder)
    assert (store.action.shape, len(store)) == ((80, 0), 80)
    assert store.statistics["action"].mean.shape == (0,)


def rename_camera(folder: Path, feature: str, change_info: ChangeInfo) -> None:
    """Give the camera a name that somebody else chose."""

    def rename(info: dict[str, Any]) -> None:
        info["features"][feature] = info["features"].pop("observation.images.top")
        info["video_path"] = "videos/observation.images.top/chunk-000/file-000.mp4"

    change_info(folder, rename)
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    names = [n.replace("observation.images.top", feature) for n in table.column_names]
    pq.write_table(table.rename_columns(names), path)


@pytest.mark.parametrize("name", ["{outside}/precious", "../../../precious", "..", ""])
def test_a_foreign_camera_writes_nothing_outside(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, name: str
) -> None:
    folder = make_dataset(tmp_path / "set", (3,))
    precious = tmp_path / "precious.npy"
    precious.write_text("precious")
    feature = f"observation.images.{name.format(outside=tmp_path)}"
    rename_camera(folder, feature, change_info)
    with pytest.raises(InputError, match="has no name that a file can have"):
        open_store(folder)
    assert precious.read_text() == "precious"


def test_a_foreign_name_with_dots_and_blanks_is_a_camera(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    folder = make_dataset(tmp_path / "set", (3,))
    want = frames_of(folder)
    rename_camera(folder, "observation.images.wrist.left (2)", change_info)
    np.testing.assert_array_equal(every(open_store(folder).image["wrist.left (2)"]), want)


def test_links_that_leave_the_data_set_are_not_followed(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    folder, outside = make_dataset(tmp_path / "set", (3,)), tmp_path / "outside"
    precious = outside / "original/precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    frames = folder / ".frames"
    frames.symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the data set"):
        open_store(folder)
    frames.unlink()
    frames.mkdir()
    (frames / "original").symlink_to(precious.parent)
    with pytest.raises(InputError, match="leads out of the data set"):
        open_store(folder)
    (frames / "original").unlink()
    (frames / "original").mkdir()  # stale, and what it holds is deleted
    (frames / "original/there").symlink_to(precious.parent)
    (frames / "original.partial").symlink_to(precious.parent)
    np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))
    (frames / "lock").unlink()
    (frames / "lock").symlink_to(precious)
    with pytest.raises(InputError, match="leads out of the data set"):
        open_store(folder)
    assert precious.read_text() == "precious"
    video = next(folder.rglob("*.mp4"))
    video.rename(tmp_path / "film.mp4")
    video.symlink_to(tmp_path / "film.mp4")
    with pytest.raises(InputError, match=r"file-000\.mp4' leads out of the data set"):
        Dataset(folder).episode(0)


def test_a_data_set_may_be_reached_through_a_link(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert len(open_store(tmp_path / "link")) == 80


@pytest.mark.parametrize("frames", [np.zeros((3, 16, 16, 3)), np.zeros((80, 16, 16, 3)), None])
def test_a_store_that_somebody_else_made_up_is_built_anew(
    folder: Path, frames: np.ndarray | None
) -> None:
    """Its checksums are right, its frames are none."""
    open_store(folder)
    path = folder / ".frames/original"
    if frames is None:
        (path / "top.npy").write_bytes(b"no array")
    else:
        np.save(path / "top.npy", frames)
    manifest = json.loads((path / "manifest.json").read_bytes())
    for checksums in ({"top": store_module._checksums(path / "top.npy")}, 7):
        (path / "manifest.json").write_text(json.dumps(manifest | {"checksums": checksums}))
        np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))


@pytest.mark.parametrize("call", ["posix_fallocate", "replace"])
def test_a_full_disk_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(InputError, match=r"cannot be written .*No space left on device"):
            open_store(folder)
    assert [path.name for path in (folder / ".frames").iterdir()] == ["lock"]


def test_the_room_is_taken_before_frames_are_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a disk that fills meanwhile ends the process by a bus error."""
    sizes = []
    real = Dataset.images

    def images(self: Dataset, *args: Any, **settings: Any) -> Any:
        status = (folder / ".frames/original.partial/top.npy").stat()
        sizes.append((status.st_blocks * 512, status.st_size))
        return real(self, *args, **settings)

    monkeypatch.setattr(Dataset, "images", images)
    open_store(folder)
    assert all(taken >= size > 80 * SIZE * SIZE * 3 for taken, size in sizes)


def test_a_file_system_that_cannot_reserve_is_written_to_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    np.testing.assert_array_equal(every(open_store(folder).image["top"]), frames_of(folder))
