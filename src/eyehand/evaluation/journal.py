"""The journal of an evaluation: a finished episode is on disk at once, so a kill loses none."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation.results import EpisodeRecord
from eyehand.files import source_commit
from eyehand.types import InputError


class Journal:
    """The episodes of one evaluation on disk, appended as they finish.

    The first line of ``episodes.jsonl`` says what the outcomes depend on, every other line is an
    :class:`EpisodeRecord`. The executed actions of unprobed episodes lie in ``actions/``, so that
    any of them can be filmed by replaying it. A last line that is incomplete after a kill is
    dropped.

    Args:
        folder: Folder of the evaluation, made if missing.
        identity: What the outcomes depend on.

    Raises:
        InputError: If the folder holds episodes of another identity, or a damaged file.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.file = folder / "episodes.jsonl"
        self.records: dict[tuple[str, str, int], EpisodeRecord] = {}
        self._commit = source_commit()
        self._clock = perf_counter()
        (folder / "actions").mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            self._read(identity)
        if not self.records:
            # After a kill during the first line there is nothing to keep.
            self.file.write_text(json.dumps(identity) + "\n", encoding="utf-8")

    def _read(self, identity: dict[str, Any]) -> None:
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.file.open("r+b") as stream:
                stream.truncate(len(whole))
        lines = whole.decode("utf-8", errors="replace").splitlines()
        if len(lines) == 1:
            return  # killed before the first episode ended: there is nothing to keep
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._check(entry, identity)
                else:
                    self._keep(EpisodeRecord(**entry))
            except (ValueError, TypeError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"line {number} of {self.file} is damaged: delete the line or the file."
                ) from error

    def _check(self, found: dict[str, Any], identity: dict[str, Any]) -> None:
        changed = [
            f"{key} {found.get(key)!r}, now {value!r}"
            for key, value in identity.items()
            if found.get(key) != value
        ]
        if changed:
            raise InputError(
                f"{self.folder} holds episodes with {'; '.join(changed)}: "
                "give another --out, or delete that folder."
            )

    def _keep(self, record: EpisodeRecord) -> None:
        self.records[record.probe, record.task, record.seed] = record

    def holds(self, probe: str, start: Start) -> bool:
        """Return whether the episode was run with this sentence."""
        record = self.records.get((probe, start.task, start.seed))
        return record is not None and record.instruction == start.instruction

    def record(self, probe: str, start: Start) -> EpisodeRecord:
        """Return the record of an episode that was run."""
        return self.records[probe, start.task, start.seed]

    def success_rate(self, probe: str) -> float:
        """Return the success rate so far."""
        own = [record.success for record in self.records.values() if record.probe == probe]
        return sum(own) / len(own)

    def add(self, probe: str, outcome: Outcome) -> None:
        """Store one outcome; once this returns, a kill does not lose it."""
        start, now = outcome.start, perf_counter()
        record = EpisodeRecord(
            probe=probe,
            task=start.task,
            seed=start.seed,
            instruction=start.instruction,
            success=outcome.success,
            steps=outcome.steps,
            seconds=round(now - self._clock, 4),
            commit=self._commit,
        )
        self._clock = now
        if not probe:
            np.save(actions_file(self.folder, record), outcome.actions, allow_pickle=False)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(record)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._keep(record)


def actions_file(folder: Path, record: EpisodeRecord) -> Path:
    """Return where the executed actions of an unprobed episode lie."""
    return folder / "actions" / f"{record.task}-{record.seed}.npy"
