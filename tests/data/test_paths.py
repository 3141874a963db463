import os
from pathlib import Path

import pytest

from eyehand.data.paths import LONGEST_NAME, check_name, check_template, inside
from eyehand.types import InputError

NUMBERS = ("chunk_index", "file_index")


@pytest.mark.parametrize(
    "name", ["observation.images.top", "a", "wrist camera (left)", "机器人", "x..y", "é" * 100]
)
def test_usual_names_are_taken(name: str) -> None:
    check_name(name, "feature", Path("set"))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../..", "/etc/passwd", "a/b", "a\\b", ".hidden", "a\nb", "a\0b", "\ud800",
     "x" * (LONGEST_NAME + 1), "é" * 101],
)  # fmt: skip
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"camera .* of set has no name that a file can have"):
        check_name(name, "camera", Path("set"))


@pytest.mark.parametrize(
    "template",
    ["data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "all.parquet", "{file_index}",
     "d ä/{chunk_index:06d}.x"],
)  # fmt: skip
def test_usual_templates_are_taken(template: str) -> None:
    assert check_template(template, NUMBERS, "data_path", Path("info.json")) == template


@pytest.mark.parametrize(
    "template",
    ["{chunk_index:>1000000000d}", "{chunk_index.__class__}", "{chunk_index[0]}", "{0}", "{",
     "{file_index!r}", "{{}}", "{video_key}", "{file_index:0{chunk_index}d}", "{file_index:999d}",
     "", "a\nb", "x" * 1001, None, 7, ["data"]],
)  # fmt: skip
def test_templates_of_another_form_are_refused(template: object) -> None:
    with pytest.raises(
        InputError, match=r"'data_path' of info\.json must be a path with the fields"
    ):
        check_template(template, NUMBERS, "'data_path'", Path("info.json"))


def test_every_path_stays_inside(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to("data")
    (folder / "round").symlink_to("round")
    for root in (folder, tmp_path / "link"):
        for good in ("data/file", "in/file", "data/../in/file", "none/yet"):
            assert inside(root, good) == root / good
        for bad in ("../other", "/etc/passwd", "out/file", "round/file", "data/../../x", "a\0b"):
            with pytest.raises(InputError, match="leads out of the data set"):
                inside(root, bad)


def test_a_relative_folder_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert os.fspath(inside(Path("set"), "meta/info.json")) == "set/meta/info.json"
