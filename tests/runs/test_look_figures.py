"""The figures of a page are those of the data set, by another way of counting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe
from eyehand.runs.look_figures import (
    curve,
    describe_dataset,
    describe_episode,
    dimension_names,
    group_episodes,
    numbers,
)

LENGTHS = (9, 30, 12, 7)


def test_figures_of_the_whole_and_of_tasks(boxes: Path) -> None:
    dataset = Dataset(boxes)
    ranges = {feature: describe(values) for feature, values in numbers(dataset).items()}
    found = describe_dataset(dataset, group_episodes(dataset), ranges)
    assert (found["episodes"], found["frames"], found["fps"]) == (4, sum(LENGTHS), 60)
    lift, put = found["tasks"]
    assert (lift["name"], lift["episodes"], lift["shortest"], lift["longest"]) == ("lift", 3, 9, 30)
    assert (put["frames"], put["median"], list(put["sentences"].values())) == (7, 7, [1])
    for feature, values in (
        ("observation.state", dataset.frames.state),
        ("action", dataset.frames.action),
    ):
        rows = found["numbers"][feature]
        for end, figure in (("min", np.min), ("mean", np.mean), ("max", np.max), ("std", np.std)):
            assert [row[end] for row in rows] == pytest.approx(figure(values, axis=0), rel=1e-5)
        assert [sum(row["bars"]) for row in rows] == [sum(LENGTHS)] * values.shape[1]
    assert sum(found["lengths"]["bars"]) == 4
    assert found["landmarks"] == ["hand", "goal"]
    assert found["not_shown"] == ["depth"]  # 36 numbers


def test_figures_of_an_episode(boxes: Path) -> None:
    dataset = Dataset(boxes)
    ranges = {feature: describe(values) for feature, values in numbers(dataset).items()}
    found = describe_episode(dataset, dataset.episodes[1], ranges, {})
    assert (found["seed"], found["frames"], found["seconds"]) == (1, 30, 0.5)
    assert (found["stride"], found["film_fps"], found["speed"]) == (2, 30, 1)
    assert [(curve["of"], curve["name"]) for curve in found["curves"]] == [
        *[("observation.state", name) for name in "012"],
        *[("action", name) for name in "01"],
        ("reward", "0"),
    ]
    column = dataset.frames.action[:, 1]
    ends = float(column.min()), float(column.max())
    assert found["curves"][-2]["path"] == curve(column[9:39], *ends)
    assert found["points"] == [[[-0.5, 0.5], [0.25, -3]]] * 15


def test_what_is_not_finite_is_not_drawn(boxes: Path) -> None:
    dataset = Dataset(boxes)
    assert "reward" in numbers(dataset)
    reward = dataset.frames.columns["reward"].copy()
    reward[3] = np.nan
    dataset.frames = replace(dataset.frames, columns={"reward": reward})
    assert list(numbers(dataset)) == ["observation.state", "action"]


def test_a_long_curve_keeps_its_single_peak() -> None:
    values = np.zeros(10_000, np.float32)
    values[4321] = 1
    points = [point.split(",") for point in curve(values, 0.0, 1.0).split()]
    assert len(points) == 240
    assert [float(x) for x, y in points if float(y) == 0] == [pytest.approx(129.6, abs=2)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["0", "1", "2"]),
        (["x", "y", "z"], ["x", "y", "z"]),
        ({"motors": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"a": 0, "b": 1, "c": 2}, ["a", "b", "c"]),
        (["too", "few"], ["0", "1", "2"]),
    ],
)
def test_dimensions_are_named_as_the_data_set_does_if_it_does(
    names: Any, expected: list[str], boxes: Path
) -> None:
    dataset = Dataset(boxes)
    dataset.info["features"]["observation.state"]["names"] = names
    assert dimension_names(dataset, "observation.state") == expected
