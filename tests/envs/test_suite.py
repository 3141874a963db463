"""Every registered suite keeps its contract; what a person names is found or refused."""

from dataclasses import replace

import pytest

from eyehand.envs.check import check_suite
from eyehand.envs.suite import SUITES, find_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.types import InputError


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_passes_the_battery(name: str, opengl: None) -> None:
    if name.startswith("libero"):
        pytest.importorskip("libero", reason='needs `pip install "eyehand[libero]"`')
    suite = find_suite(name)
    assert suite.name == name
    check_suite(suite)


def test_the_battery_sees_a_contradiction() -> None:
    for broken, said in [
        (replace(TWO_WAYS, groups={"a": ("two-ways",), "b": ("two-ways",)}), "two groups"),
        (replace(TWO_WAYS, sets={"few": ("reach",)}), "in no group"),
        (replace(TWO_WAYS, view="side"), "is not a camera"),
        (replace(TWO_WAYS, fps=20), "another number of steps per second"),
        (replace(TWO_WAYS, state=TWO_WAYS.state[:1]), "states have another length"),
        (replace(TWO_WAYS, landmarks=("goal",)), "no landmarks"),
    ]:
        with pytest.raises(AssertionError, match=said):
            check_suite(broken)


def test_tasks_are_selected_by_name_group_and_set() -> None:
    suite = find_suite("metaworld")
    assert len(suite.select_tasks("all")) == 50
    assert len(suite.select_tasks("mt10")) == 10
    assert suite.select_tasks("hard, reach,push")[-1] == "reach"
    assert suite.group_of("push") == "hard"


def test_unknown_names_are_one_sentence() -> None:
    with pytest.raises(InputError, match=r"no suite 'meta-world'\. Did you mean 'metaworld'"):
        find_suite("meta-world")
    with pytest.raises(InputError, match=r"no task of two-ways 'reach'\. There are: all, two-ways"):
        TWO_WAYS.select_tasks("two-ways,reach")
    with pytest.raises(InputError, match=r"no camera of two-ways 'side'"):
        TWO_WAYS.check_cameras({"top": 8, "side": 8})
