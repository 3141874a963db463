from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyehand.data.layout import VIDEO_PATH, camera_feature, cameras_from_features, numbered
from eyehand.data.lerobot import Dataset
from eyehand.types import InputError

MakeDataset = Callable[..., Path]
ChangeInfo = Callable[..., None]


def test_numbers_of_files_become_paths() -> None:
    want = "videos/observation.images.top/chunk-002/file-001.mp4"
    assert numbered(VIDEO_PATH, 2001, video_key="observation.images.top") == want


def test_cameras_are_what_was_written_and_others_are_refused() -> None:
    features = {"observation.images.top": camera_feature((8, 10), fps=30)}
    (camera,) = cameras_from_features(Path(), features).values()
    assert (camera.height, camera.width, camera.video) == (8, 10, True)
    features["observation.images.depth"] = features["observation.images.top"] | {
        "shape": [8, 10, 1]
    }
    with pytest.raises(InputError, match=r"depth' of .* \[8, 10, 1\]; colour pictures"):
        cameras_from_features(Path(), features)


def test_another_version_is_named_with_the_way_out(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    change_info(make_dataset(tmp_path), lambda info: info.update(codebase_version="v2.1"))
    with pytest.raises(InputError, match=r"format 'v2\.1'; eyehand reads v3\.0.*convert_dataset"):
        Dataset(tmp_path)


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a LeRobot data set: it has no meta/info"):
        Dataset(tmp_path / "nothing")


ABSURD = [10**30, -1, -(10**30), 0.5, "3", None, [], {}, True, float("nan"), float("inf")]


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("key", ["fps", "total_episodes", "total_frames"])
def test_absurd_numbers_are_refused_in_one_sentence(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, key: str, value: object
) -> None:
    change_info(make_dataset(tmp_path), lambda info: info.update({key: value}))
    with pytest.raises(InputError, match=rf"^'{key}' of .*info\.json must be a whole number from"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        *(value for value in ABSURD if value != []),
        [10**30, 8, 3],
        [-1, 8, 3],
        [1] * 99,
        ["a", 1, 3],
    ],
)
@pytest.mark.parametrize("feature", ["observation.images.top", "action", "timestamp"])
def test_absurd_shapes_are_refused_in_one_sentence(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, feature: str, value: object
) -> None:
    change_info(make_dataset(tmp_path), lambda info: info["features"][feature].update(shape=value))
    with pytest.raises(InputError, match=rf"feature '{feature}' of [^\n]*\.$"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": []}, "'features' of .* must be in braces. Got list"),
        ({"features": {"a": 1}}, "feature 'a' of .* must have a dtype and a shape"),
        ({"features": {"a": {"dtype": 1, "shape": [1]}}}, "feature 'a' of .* must have a dtype"),
        ({"features": {"../a": {"dtype": "x", "shape": [1]}}}, r"feature '\.\./a' of .* no name"),
        ({"data_path": "{chunk_index:>1000000000d}"}, "'data_path' of .* must be a path"),
        ({"video_path": "{chunk_index.__class__}"}, "'video_path' of .* must be a path"),
        ({"video_path": None}, "'video_path' of .* must be a path"),
        ({"data_path": "../{file_index}"}, r"'\.\./0' leads out of the data set"),
        ({"video_path": "/etc/{video_key}"}, r"'/etc/observation\.images\.top' leads out"),
        ({"file_checksums": 1}, "'file_checksums' of .* must hold lists of checksums"),
        ({"codebase_version": [[]]}, "format list; eyehand reads"),
    ],
)
def test_a_broken_info_file_is_one_sentence(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, change: dict[str, object],
    message: str,
) -> None:  # fmt: skip
    change_info(make_dataset(tmp_path), lambda info: info.update(change))
    with pytest.raises(InputError, match=message):
        Dataset(tmp_path).episode(0)


@pytest.mark.parametrize("depth", [200, 900, 990, 1000, 100_000])
def test_brackets_in_brackets(tmp_path: Path, make_dataset: MakeDataset, depth: int) -> None:
    path = make_dataset(tmp_path) / "meta/info.json"
    for whole in ("[" * depth + "]" * depth, '{"fps":' * depth + "1" + "}" * depth):
        path.write_text(whole)
        with pytest.raises(InputError, match=r"info\.json"):
            Dataset(tmp_path)


def test_a_billion_frames_that_are_not_there_cost_nothing(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    change_info(make_dataset(tmp_path, (7,)), lambda info: info.update(total_frames=10**9))
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("length")
    pq.write_table(table.set_column(place, "length", pa.array([10**9])), path)
    dataset = Dataset(tmp_path)
    with pytest.raises(InputError, match=r"do not hold the 1000000000 frames"):
        _ = dataset.frames


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data/chunk_index", "../../x"),
        ("data/file_index", -1),
        ("videos/observation.images.top/chunk_index", "/etc"),
        ("videos/observation.images.top/from_timestamp", float("nan")),
        ("videos/observation.images.top/from_timestamp", 1e300),
        ("length", 0),
        ("length", 2**62),
        ("dataset_from_index", None),
    ],
)
def test_absurd_rows_are_refused_in_one_sentence(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, name: str, value: object
) -> None:
    change_info(
        make_dataset(tmp_path, (7,)),
        lambda info: info.update(
            data_path="data/{chunk_index}/{file_index}", video_path="{chunk_index}/{video_key}"
        ),
    )
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array([value])), path)
    with pytest.raises(InputError, match=rf"column '{name}' of .*file-000\.parquet"):
        Dataset(tmp_path)
