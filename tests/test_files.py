"""A kill at any moment leaves the old file or the new one, whole."""

from pathlib import Path

import pytest

from eyehand.files import cache_folder, locked, replace_text, replacing, source_commit
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
