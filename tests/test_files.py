"""A kill at any moment leaves the old file or the new one, whole."""

import errno
import os
from pathlib import Path

import pytest

from eyehand.files import cache_folder, check_place, locked, replace_text, replacing, source_commit
from eyehand.types import InputError


def test_a_file_is_replaced_and_nothing_is_left_beside(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    replace_text(file, "new \u4e2d")
    assert file.read_text(encoding="utf-8") == "new \u4e2d"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(TypeError), replacing(file) as beside:
        beside.write_text(b"no text")  # type: ignore[arg-type]
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", tmp_path / "b"
    (tmp_path / "a.txt.partial").write_text("longer than what is written now")
    (tmp_path / "b.partial" / "old").mkdir(parents=True)
    replace_text(file, "new")
    with replacing(folder) as beside:
        beside.mkdir()
        (beside / "inside").write_text("x")
    assert file.read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["inside"]


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EYEHAND_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "eyehand"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/eyehand")
    monkeypatch.setenv("EYEHAND_CACHE", "/y")
    assert cache_folder() == Path("/y")


def test_the_commit_is_that_of_this_source() -> None:
    commit = source_commit()
    assert len(commit.removesuffix("-dirty")) in (0, 40)


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    with locked(tmp_path, "trains"):  # noqa: SIM117  # the second is to fail
        with pytest.raises(InputError, match=r"another process \(\d+\) trains in .*name another"):
            with locked(tmp_path, "trains"):
                pass
    with locked(tmp_path, "evaluates"):
        pass


def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised, replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "a")


def test_a_place_is_checked_before_the_work_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for right, folder in (("file", False), ("new", False), ("new/below", True), (".", True)):
        check_place(tmp_path / right, folder=folder)
    for wrong, folder, number, named in (
        ("file", True, errno.EEXIST, "file"),
        ("file/below", True, errno.ENOTDIR, "file/below"),
        ("file/below/it", False, errno.ENOTDIR, "file/below/it"),
        (".", False, errno.EISDIR, ""),
        ("n" * 300, False, errno.ENAMETOOLONG, "n" * 300),
    ):
        with pytest.raises(OSError, match=r".") as raised:
            check_place(tmp_path / wrong, folder=folder)
        assert raised.value.errno == number
        assert raised.value.filename == str(tmp_path / named)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for wrong in ("file", "new/below"):
        with pytest.raises(PermissionError):
            check_place(tmp_path / wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
