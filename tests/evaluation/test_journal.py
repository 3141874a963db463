"""The diary: what was written is there after a kill, and what cannot be used is named."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.checksums import read_line
from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation.journal import Journal, actions_file, load_actions
from eyehand.types import InputError

IDENTITY: dict[str, Any] = {"protocol": "metaworld-v1", "execution": {"steps": 4}}


def outcome(seed: int, instruction: str = "go") -> Outcome:
    actions = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4) * np.float32(1 / (1 + seed))
    return Outcome(Start("reach", seed, instruction), seed % 2 == 0, actions)


def whole_journal(folder: Path) -> Journal:
    """Return a journal of the episodes 0, 1 and 2; 1 failed."""
    journal = Journal(folder, IDENTITY)
    for seed in range(3):
        journal.add("", outcome(seed))
    return journal


def test_episodes_are_there_when_opened_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "folder", IDENTITY)
    assert not journal.holds("", outcome(0).start)
    for seed in range(3):
        journal.add("", outcome(seed))
    journal.add("image blank", outcome(1))
    again = Journal(tmp_path / "new" / "folder", IDENTITY)
    assert again.records == journal.records
    assert again.success_rate("") == pytest.approx(2 / 3)
    assert again.success_rate("image blank") == 0
    assert again.holds("", outcome(2).start)
    assert not again.holds("", outcome(3).start)
    assert not again.holds("image blank", outcome(2).start)


def test_actions_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    journal = Journal(tmp_path, IDENTITY)
    journal.add("", outcome(5))
    journal.add("image blank", outcome(6))
    kept = np.load(actions_file(tmp_path, "reach", 5))
    np.testing.assert_array_equal(kept, outcome(5).actions)
    assert len(list((tmp_path / "actions").iterdir())) == 1


def test_other_words_are_another_episode(tmp_path: Path) -> None:
    journal = Journal(tmp_path, IDENTITY)
    journal.add("swapped", outcome(0, "open it"))
    assert not journal.holds("swapped", outcome(0, "close it").start)
    journal.add("swapped", outcome(0, "close it"))
    again = Journal(tmp_path, IDENTITY)
    assert again.record("swapped", outcome(0).start).instruction == "close it"


def test_every_cut_of_the_file_loses_at_most_the_last_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyehand.evaluation.journal.source_commit", lambda: "abc")
    journal = Journal(tmp_path, IDENTITY)
    journal.add("", outcome(0))
    journal.add("", outcome(1))
    whole = journal.file.read_bytes()
    first_two_lines = len(b"".join(whole.splitlines(keepends=True)[:2]))
    ends = [number for number, byte in enumerate(whole, start=1) if byte == ord("\n")]
    near = {end + distance for end in ends for distance in (-2, -1, 0, 1)}
    for length in sorted({*range(0, len(whole), 29), *near} - {len(whole) + 1}):
        journal.file.write_bytes(whole[:length])
        reopened = Journal(tmp_path, IDENTITY)
        complete = max(0, whole[:length].count(b"\n") - 1)
        assert len(reopened.records) == complete
        reopened.add("", outcome(1))
        lines = journal.file.read_text().splitlines()
        assert read_line(lines[0]) == (IDENTITY, True)
        assert len(Journal(tmp_path, IDENTITY).records) == (2 if length >= first_two_lines else 1)


def test_another_identity_is_refused_once_there_are_episodes(tmp_path: Path) -> None:
    Journal(tmp_path, {"protocol": "metaworld-v0"})
    journal = Journal(tmp_path, IDENTITY)  # nothing was kept of the other
    journal.add("", outcome(0))
    changed = IDENTITY | {"execution": {"steps": 8}}
    with pytest.raises(InputError, match=r"execution \{'steps': 4\}, now \{'steps': 8\}"):
        Journal(tmp_path, changed)
    assert len(Journal(tmp_path, IDENTITY).records) == 1


@pytest.mark.parametrize("line", ["\x00", '{"probe": ""}', "[]", "\xff", "[" * 100_000])
def test_an_episode_of_a_damaged_line_is_run_again(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = whole_journal(tmp_path)
    lines = journal.file.read_bytes().splitlines(keepends=True)
    journal.file.write_bytes(b"".join([*lines[:2], line.encode("latin-1") + b"\n", *lines[3:]]))
    again = Journal(tmp_path, IDENTITY)
    assert [seed for _, _, seed in again.records] == [0, 2]
    assert "line 3 is damaged and left out; its episode is run again" in caplog.text
    assert journal.file.read_bytes() == b"".join([*lines[:2], *lines[3:]])
    caplog.clear()
    assert Journal(tmp_path, IDENTITY).records == again.records
    assert not caplog.text


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"success": false', b'"success": true'),
        (b'"steps": 3', b'"steps": 2'),
        (b'"checksum": ', b'"checksun": '),
        (b', "checksum": "crc32:', b', "nothing": "crc32:'),
        (b'"checksum": "crc32:', b'"checksum": null, "x": "'),
    ],
)
def test_a_change_that_json_does_not_see_is_noticed(
    tmp_path: Path, was: bytes, becomes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure was read as a success before, without a word."""
    journal = whole_journal(tmp_path)
    *lines, odd, last = journal.file.read_bytes().splitlines(keepends=True)
    assert was in odd
    journal.file.write_bytes(b"".join([*lines, odd.replace(was, becomes), last]))
    again = Journal(tmp_path, IDENTITY)
    assert [seed for _, _, seed in again.records] == [0, 2]
    assert "line 3 is damaged and left out; its episode (reach with seed 1) is run" in caplog.text


def test_a_damaged_first_line_is_named(tmp_path: Path) -> None:
    journal = whole_journal(tmp_path)
    content = journal.file.read_bytes().replace(b"metaworld-v1", b"metaworld-v2", 1)
    journal.file.write_bytes(content)
    with pytest.raises(InputError, match=r"line 1 of .*episodes\.jsonl is damaged.*or delete it"):
        Journal(tmp_path, IDENTITY)
    assert journal.file.read_bytes() == content


def test_lines_of_the_version_before_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = whole_journal(tmp_path)
    entries = [read_line(line)[0] for line in journal.file.read_text().splitlines()]
    for entry in entries[1:]:
        del entry["actions_checksum"]
    journal.file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    again = Journal(tmp_path, IDENTITY)
    assert len(again.records) == 3
    assert caplog.text.count("3 lines without a checksum") == 1
    again.add("", outcome(3))
    assert len(Journal(tmp_path, IDENTITY).records) == 4


@pytest.mark.parametrize("change", ["cut", "flip", "gone"])
def test_an_episode_of_damaged_actions_is_run_again(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole_journal(tmp_path)
    file = actions_file(tmp_path, "reach", 1)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    {
        "cut": lambda: file.write_bytes(content[:-1]),
        "flip": lambda: file.write_bytes(content),
        "gone": file.unlink,
    }[change]()
    again = Journal(tmp_path, IDENTITY)
    assert [seed for _, _, seed in again.records] == [0, 2]
    assert "its episode (reach with seed 1) is run again" in caplog.text
    again.add("", outcome(1))
    assert len(Journal(tmp_path, IDENTITY).records) == 3


def test_actions_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    whole_journal(tmp_path)
    np.testing.assert_array_equal(load_actions(tmp_path, "reach", 1), outcome(1).actions)
    actions_file(tmp_path, "reach", 1).write_bytes(b"")
    with pytest.raises(InputError, match=r"reach-1\.npy cannot be read"):
        load_actions(tmp_path, "reach", 1)


def test_actions_are_on_the_disk_before_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was flushed: the line must not be there without its actions."""
    journal, flushed = Journal(tmp_path, IDENTITY), list[str]()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    journal.add("", outcome(0))
    assert flushed == ["reach-0.npy.partial", "actions", "episodes.jsonl"]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = whole_journal(tmp_path)
    before = journal.file.read_bytes()

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > len(before):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.add("", outcome(3))
    assert journal.file.read_bytes() == before
    journal.add("", outcome(4))
    assert [seed for _, _, seed in Journal(tmp_path, IDENTITY).records] == [0, 1, 2, 4]


def test_half_a_line_joined_with_the_next_costs_these_two_episodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What another program, or a version before, leaves after a full disk."""
    journal = whole_journal(tmp_path)
    lines = journal.file.read_bytes().splitlines(keepends=True)
    journal.file.write_bytes(b"".join([*lines[:2], lines[2][:-20], lines[3]]))
    assert [seed for _, _, seed in Journal(tmp_path, IDENTITY).records] == [0]
    assert "(reach with seed 1, reach with seed 2) is run again" in caplog.text
