"""The journal of an evaluation: a finished episode is on disk at once, so a kill loses none.

Every line of the journal carries a checksum, and that of the episode's actions. So damage is
noticed when an evaluation goes on: what it hit is run again, and a line on standard error says so.
"""

import logging
import os
import re
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import dacite
import numpy as np
from jaxtyping import Float32

from eyehand.checksums import checked_line, file_checksum, read_line
from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation.results import EpisodeRecord
from eyehand.files import replacing, source_commit
from eyehand.types import InputError

_LOGGER = logging.getLogger(__name__)
_EPISODE = re.compile(rb'"task": "([^"]+)", "seed": (\d+)')
"""What a damaged line still says of its episode."""


class Journal:
    """The episodes of one evaluation on disk, appended in ``folder`` as they finish.

    The first line of ``episodes.jsonl`` says what the outcomes depend on, every other line is an
    :class:`EpisodeRecord`. The executed actions of unprobed episodes lie in ``actions/``, so that
    any of them can be filmed by replaying it. A last line that is incomplete after a kill or on a
    full disk is dropped. An episode whose line or actions are damaged counts as not run. Lines of
    the version before have no checksum: they are taken as they are.

    Raises:
        InputError: If the folder holds episodes of another identity, or the line that says of
            which identity they are is damaged.
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
            self._replace(checked_line(identity).encode())

    def _read(self, identity: dict[str, Any]) -> None:
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.file, len(whole))
        first, *lines = whole.split(b"\n")[:-1] or [b""]
        if not lines:
            return  # killed before the first episode ended: there is nothing to keep
        protected = self._check(first, identity)
        unprotected, damaged, kept = 0, dict[int, bytes](), [first]
        for number, line in enumerate(lines, start=2):
            try:
                entry, checked = read_line(line)
                # Older lines come first, so after one with a checksum every line has one.
                if protected and not checked:
                    raise ValueError("its checksum is gone.")
                record = dacite.from_dict(EpisodeRecord, entry, dacite.Config(strict=True))
            except (ValueError, dacite.DaciteError):
                damaged[number] = line
                continue
            protected = checked
            unprotected += not checked
            if self._has_its_actions(record):
                self._keep(record)
                kept.append(line)
        if unprotected:
            _LOGGER.warning(
                "%s has %d lines without a checksum: damage to them would not be noticed.",
                self.file, unprotected,
            )  # fmt: skip
        if damaged:
            found = _EPISODE.findall(b"\n".join(damaged.values()))
            named = ", ".join(f"{task.decode()} with seed {int(seed)}" for task, seed in found)
            _LOGGER.warning(
                "%s: line %s is damaged and left out; its episode%s is run again.",
                self.file, ", ".join(map(str, damaged)), f" ({named})" * bool(named),
            )  # fmt: skip
        if len(kept) < 1 + len(lines):
            self._replace(b"\n".join([*kept, b""]))

    def _check(self, line: bytes, identity: dict[str, Any]) -> bool:
        """Compare the first line with ``identity``; return whether it has a checksum."""
        try:
            found, checked = read_line(line)
        except ValueError as error:
            raise InputError(
                f"line 1 of {self.file} is damaged, which says what the episodes were run with: "
                "restore the file, or delete it to run all of them again."
            ) from error
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
        return checked

    def _has_its_actions(self, record: EpisodeRecord) -> bool:
        """Return whether the actions of an episode are as they were written; say it if not."""
        file = actions_file(self.folder, record.task, record.seed)
        wanted = record.actions_checksum
        if wanted is None or (file.is_file() and file_checksum(file) == wanted):
            return True
        _LOGGER.warning(
            "%s is missing or not as it was written: its episode (%s with seed %d) is run again.",
            file, record.task, record.seed,
        )  # fmt: skip
        return False

    def _keep(self, record: EpisodeRecord) -> None:
        self.records[record.probe, record.task, record.seed] = record

    def _replace(self, content: bytes) -> None:
        with replacing(self.file) as beside:
            beside.write_bytes(content)

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
        """Store one outcome; once this returns, a kill does not lose it.

        Raises:
            OSError: If it cannot be written, as on a full disk; the journal is as it was.
        """
        start, now = outcome.start, perf_counter()
        checksum = None
        if not probe:
            file = actions_file(self.folder, start.task, start.seed)
            with replacing(file) as beside, beside.open("wb") as stream:
                np.save(stream, outcome.actions, allow_pickle=False)
            checksum = file_checksum(file)
        record = EpisodeRecord(
            probe=probe,
            task=start.task,
            seed=start.seed,
            instruction=start.instruction,
            success=outcome.success,
            steps=outcome.steps,
            seconds=round(now - self._clock, 4),
            commit=self._commit,
            actions_checksum=checksum,
        )
        self._clock = now
        length = self.file.stat().st_size
        try:
            with self.file.open("ab") as stream:
                stream.write(checked_line(asdict(record)).encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            os.truncate(self.file, length)  # the next line must not join half of this one
            raise
        self._keep(record)


def actions_file(folder: Path, task: str, seed: int) -> Path:
    """Return where the executed actions of an unprobed episode lie."""
    return folder / "actions" / f"{task}-{seed}.npy"


def load_actions(folder: Path, task: str, seed: int) -> Float32[np.ndarray, "time action"]:
    """Return the executed actions of an unprobed episode of the evaluation in ``folder``.

    Raises:
        InputError: If their file is missing or damaged.
    """
    file = actions_file(folder, task, seed)
    try:
        actions = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(
            f"{file} cannot be read ({error!s:.200}): restore it, or delete its episode's line in "
            f"{folder / 'episodes.jsonl'} and evaluate again."
        ) from error
    return np.asarray(actions, np.float32)
