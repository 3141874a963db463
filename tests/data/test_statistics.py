import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import (
    combine_descriptions,
    describe,
    describe_pictures,
    load_statistics,
)
from eyehand.types import InputError

MakeDataset = Callable[..., Path]
ChangeInfo = Callable[..., None]


def test_describe_matches_numpy() -> None:
    values = np.random.default_rng(0).normal(3, 2, (1001, 3))
    found = describe(values)
    assert found["count"] == [1001]
    for key, function in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
        np.testing.assert_allclose(found[key], function(values, axis=0), rtol=0, atol=1e-12)
    for key, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        np.testing.assert_allclose(found[key], np.quantile(values, share, axis=0), atol=1e-12)


def test_pictures_match_numpy_over_episodes() -> None:
    random = np.random.default_rng(0)
    films = [random.integers(low, 256, (low + 3, 8, 8, 3), dtype=np.uint8) for low in (1, 5, 20)]
    found = combine_descriptions([describe_pictures(film) for film in films])
    pixels = np.concatenate(films).reshape(-1, 3) / 255
    assert found["count"] == [sum(map(len, films))]
    for key, function in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
        assert np.shape(found[key]) == (3, 1, 1)
        got = np.array(found[key]).reshape(3)
        np.testing.assert_allclose(got, function(pixels, axis=0), rtol=0, atol=1e-12)


def test_stored_statistics_are_those_of_the_frames(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    folder = make_dataset(tmp_path, (7, 30, 12))
    frames = Dataset(folder).frames
    for name, statistics in load_statistics(Dataset(folder)).items():
        values = getattr(frames, name).astype(np.float64)
        for field, want in (
            ("mean", values.mean(axis=0)),
            ("std", values.std(axis=0)),
            ("minimum", values.min(axis=0)),
            ("maximum", values.max(axis=0)),
            ("quantile_01", np.quantile(values, 0.01, axis=0)),
            ("quantile_99", np.quantile(values, 0.99, axis=0)),
        ):
            np.testing.assert_array_equal(getattr(statistics, field), want.astype(np.float32))


def test_the_file_is_read_and_not_computed_anew(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    folder = make_dataset(tmp_path)
    change_info(folder, lambda _: None)
    path = folder / "meta/stats.json"
    stored = json.loads(path.read_bytes())
    stored["action"]["mean"] = [5.0, 6.0]
    path.write_text(json.dumps(stored))
    assert load_statistics(Dataset(folder))["action"].mean.tolist() == [5, 6]


@pytest.mark.parametrize("damage", ["missing", "no quantiles", "other count"])
def test_a_file_that_cannot_serve_is_computed_anew(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo, damage: str
) -> None:
    folder = make_dataset(tmp_path)
    change_info(folder, lambda _: None)
    want = load_statistics(Dataset(folder))
    path = folder / "meta/stats.json"
    stored = json.loads(path.read_bytes())
    stored["action"]["mean"] = [5.0, 6.0]
    if damage == "no quantiles":
        del stored["action"]["q01"]
    elif damage == "other count":
        stored["action"]["count"] = [3]
    path.unlink() if damage == "missing" else path.write_text(json.dumps(stored))
    for name, statistics in load_statistics(Dataset(folder)).items():
        np.testing.assert_array_equal(statistics.mean, want[name].mean)
        np.testing.assert_array_equal(statistics.quantile_99, want[name].quantile_99)


def test_an_altered_file_is_named(
    tmp_path: Path, make_dataset: MakeDataset, change_info: ChangeInfo
) -> None:
    folder = make_dataset(tmp_path)
    change_info(folder, lambda _: None)
    (folder / "meta/stats.json").write_text('{"action": {"mea')
    with pytest.raises(InputError, match=r"stats\.json cannot be read as a LeRobot statistics"):
        load_statistics(Dataset(folder))
