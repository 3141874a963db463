"""The diary: what was written is there after a kill, and what cannot be used is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation.journal import Journal, actions_file
from eyehand.types import InputError

IDENTITY: dict[str, Any] = {"protocol": "metaworld-v1", "execution": {"steps": 4}}


def outcome(seed: int, instruction: str = "go") -> Outcome:
    actions = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4) * np.float32(1 / (1 + seed))
    return Outcome(Start("reach", seed, instruction), seed % 2 == 0, actions)


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
    for length in range(len(whole) + 1):
        journal.file.write_bytes(whole[:length])
        reopened = Journal(tmp_path, IDENTITY)
        complete = max(0, whole[:length].count(b"\n") - 1)
        assert len(reopened.records) == complete
        reopened.add("", outcome(1))
        lines = journal.file.read_text().splitlines()
        assert json.loads(lines[0]) == IDENTITY
        assert len(Journal(tmp_path, IDENTITY).records) == (2 if length >= first_two_lines else 1)


def test_another_identity_is_refused_once_there_are_episodes(tmp_path: Path) -> None:
    Journal(tmp_path, {"protocol": "metaworld-v0"})
    journal = Journal(tmp_path, IDENTITY)  # nothing was kept of the other
    journal.add("", outcome(0))
    changed = IDENTITY | {"execution": {"steps": 8}}
    with pytest.raises(InputError, match=r"execution \{'steps': 4\}, now \{'steps': 8\}"):
        Journal(tmp_path, changed)
    assert len(Journal(tmp_path, IDENTITY).records) == 1


@pytest.mark.parametrize("line", ["\x00", '{"probe": ""}', "[]", "\xff"])
def test_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path, IDENTITY)
    for seed in range(3):
        journal.add("", outcome(seed))
    lines = journal.file.read_bytes().splitlines(keepends=True)
    lines[2] = line.encode("latin-1") + b"\n"
    journal.file.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"line 3 of .*episodes\.jsonl is damaged"):
        Journal(tmp_path, IDENTITY)
