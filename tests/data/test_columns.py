from pathlib import Path
from typing import Any

import pytest

from eyehand.data.columns import (
    ACTION,
    COUNTERS,
    STATE,
    Column,
    check_names,
    columns_from_features,
    feature_name,
    landmark_columns,
    to_feature,
)
from eyehand.types import InputError


def test_what_is_written_is_read() -> None:
    columns = {
        "reward": Column(),
        "pose": Column("float64", (2, 3), tuple("abcdef")),
        **landmark_columns(("hand", "goal")),
        "action_mask": Column("bool"),
    }
    assert columns["landmarks"].shape == (2, 3)
    assert landmark_columns(()) == {}
    check_names(columns)
    features = {feature_name(name): to_feature(name, column) for name, column in columns.items()}
    assert columns_from_features(Path(), features) == columns
    assert not [name for name in features if name.startswith(("observation", "action"))]


def test_what_is_no_column_is_passed_over() -> None:
    """Vectors of the policy, LeRobot's counters, texts, pictures, and a namesake of ours."""
    number = {"dtype": "float32", "shape": [2], "names": {"axes": ["x", "y"]}}
    features: dict[str, Any] = dict.fromkeys([STATE, ACTION, *COUNTERS, "landmarks"], number)
    features["said"] = {"dtype": "string", "shape": [1]}
    features["observation.image"] = {"dtype": "video", "shape": [8, 8, 3]}
    assert columns_from_features(Path(), features) == {}
    assert columns_from_features(Path(), {"force": number}) == {"force": Column("float32", (2,))}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "complex64"}, "one of bool, .* Got 'complex64'"),
        ({"shape": (1,)}, r"\(\) for a single number\. Got \(1,\)"),
        ({"shape": (3, 0)}, r"Got \(3, 0\)"),
        ({"shape": (2,), "names": ("x",)}, r"shape \(2,\) needs 2 names\. Got \['x'\]"),
    ],
)
def test_refused_columns(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Column(**settings)


@pytest.mark.parametrize("name", ["state", "index", "image.top", "a/b", "", "observation.images.a"])
def test_refused_names(name: str) -> None:
    with pytest.raises(InputError, match=f"cannot be named {name!r}"):
        check_names({name: Column()})


def test_other_masks_and_points_are_refused() -> None:
    with pytest.raises(InputError, match=r"'action_mask' is one bool a frame\. Got float32 \[\]"):
        check_names({"action_mask": Column()})
    points = {"dtype": "float32", "shape": [8], "names": None}
    with pytest.raises(InputError, match=r"'privileged\.landmarks' of .* has 8 numbers; three"):
        columns_from_features(Path(), {"privileged.landmarks": points})
    with pytest.raises(InputError, match=r"'force' of .* has no shape: \['n'\]"):
        columns_from_features(Path(), {"force": points | {"shape": ["n"]}})
