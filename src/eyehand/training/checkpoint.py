"""A run's folder: what ``--resume`` goes on from, and the weights that others load.

::

    config.json             what the caller says, the training config, command, commit, versions
    model.safetensors       averaged weights and buffers; frozen pretrained weights are left out
    training_state/step-N/  of the last two checkpoints
        tensors.safetensors weights, their averages, the optimizer's state
        state.json          what the loop counts
        config.json         a copy
    .lock                   held by the process that trains

A step folder is written beside, flushed to the disk and then renamed: it is whole or it is not
there. ``model.safetensors`` is derived from it and replaced in the same way; a process killed
between the two leaves the weights of the checkpoint before, and ``--resume`` writes them anew.

Every file carries a checksum. Where the newest step folder was damaged after it was written,
``--resume`` says so and goes on from the one before, and ends with the same weights; where
config.json was, the copy takes its place.
"""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from eyehand.checksums import load_tensors, read_json, save_tensors, write_json
from eyehand.files import PARTIAL, replacing, software_versions, source_commit
from eyehand.training.counters import Counters
from eyehand.training.earlier import DECAY_ONLY
from eyehand.types import InputError

CONFIG, WEIGHTS, STATES = "config.json", "model.safetensors", "training_state"
"""Names in a run's folder."""
COUNTERS, TENSORS = "state.json", "tensors.safetensors"
"""Names in a step folder."""
DRAWN = ("training.npz", "test.npz")
"""What may be in the folder before the run: the pictures that ``eyehand segment`` draws for it."""
MAY_CHANGE = {
    f"training.{field}"
    for field in (
        "steps", "minutes", "checkpoint_minutes", "checkpoint_steps", "log_every", "threads",
    )
}  # fmt: skip
"""Fields of config.json that a resumed run may change: how long, and what decides nothing."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumed:
    """What a run goes on from."""

    folder: Path
    """The step folder."""
    counters: Counters
    """What the loop had counted."""
    state: dict[str, Tensor]
    """Everything that the update goes on from, mapped from the file."""
    training: Mapping[str, Any]
    """The section of config.json, as the version that began the run wrote it."""


def check_out(folder: Path, *, resume: bool) -> None:
    """Check that a run may be in ``folder``, which need not exist; writes nothing.

    Raises:
        InputError: If ``folder`` is no folder, holds a run and ``resume`` is False, or holds
            something else, such as a data set; hidden files do not count.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"--out: {folder} is no folder ({error.strerror}); name another place."
        ) from error
    if CONFIG in names or _step_folders(folder):
        if resume:
            return
        raise InputError(
            f"{folder} holds a run; go on with it by --resume, or name another folder."
        )
    for name in names:
        if not name.startswith(".") and not name.endswith(PARTIAL) and name not in DRAWN:
            raise InputError(
                f"--out: {folder} holds {name} and no run; name a new or an empty folder."
            )


def open_run(
    folder: Path,
    description: Mapping[str, Any],
    *,
    resume: bool,
    defaults: Mapping[str, Any] | None = None,
) -> Resumed | None:
    """Check that a run may begin or go on in ``folder``; writes nothing.

    Args:
        folder: The run's folder; need not exist.
        description: What config.json is to say, as JSON values.
        resume: Go on from the newest checkpoint that is whole; with none there, begin.
        defaults: What fields counted as that config.json does not have, because the version that
            wrote it did not have them; nested as in ``description``.

    Returns:
        What to go on from, or ``None`` to begin.

    Raises:
        InputError: As of `check_out`; if config.json or every checkpoint is damaged; if config.json
            differs in a field that decides what is learnt.
    """
    check_out(folder, resume=resume)
    states = sorted(_step_folders(folder), key=_step_of, reverse=True)
    if not states and not (folder / CONFIG).exists():
        return None
    before = run_config(folder)
    training = before.get("training")
    training = dict(training) if isinstance(training, dict) else {}
    before.pop("made_with", None)
    if training:
        before["training"] = {n: value for n, value in training.items() if n != DECAY_ONLY}
    now = json.loads(json.dumps(description))
    _refuse_changes(before, now, defaults or {}, folder / CONFIG)
    return _newest_whole(states, training) if states else None


class Checkpoints:
    """Saves and restores a run's state.

    Args:
        folder: The run's folder.
        published: Beginning of the names in the state that become model.safetensors, without it.
    """

    def __init__(self, folder: Path, *, published: str) -> None:
        self.folder = folder
        self.published = published
        self.description: dict[str, Any] = {}
        self.newest: Path | None = None
        """The step folder that this process saved or restored last."""

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write config.json: ``description``, and what the run is made with.

        Args:
            description: JSON values; the key ``made_with`` is added (command, commit, versions).
        """
        made_with = {"command": sys.argv, "commit": source_commit(), **software_versions()}
        self.description = {**description, "made_with": made_with}
        write_json(self.folder / CONFIG, self.description)

    def restore(self, resumed: Resumed) -> None:
        """Bring model.safetensors, and a damaged config.json, in line with a step folder.

        Of the states before it all but one go, as in `save`, which a kill may have cut short.
        """
        self.newest = resumed.folder
        states = sorted(_step_folders(self.folder), key=_step_of)
        for older in states[: max(0, states.index(resumed.folder) - 1)]:
            shutil.rmtree(older)
        copy = resumed.folder / CONFIG
        if copy.exists() and not _is_whole(self.folder / CONFIG):
            with replacing(self.folder / CONFIG) as beside:
                shutil.copyfile(copy, beside)
        self._publish(resumed.state)

    def save(self, counters: Counters, state: Mapping[str, Tensor]) -> None:
        """Make ``training_state/step-N`` and then ``model.safetensors``.

        The state that this process saved or restored before is kept beside it, in case that the new
        one is damaged one day; all others go.

        Args:
            counters: What the loop goes on from.
            state: Everything that the update goes on from.
        """
        target = self.folder / STATES / f"step-{counters.step:08d}"
        for left in self.folder.glob(f"{STATES}/step-*"):
            if left == target or left not in _step_folders(self.folder):  # of a killed process
                shutil.rmtree(left, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside:
            beside.mkdir()
            save_tensors(beside / TENSORS, state)
            write_json(beside / COUNTERS, asdict(counters))
            write_json(beside / CONFIG, self.description)
        self._publish(state)
        for other in _step_folders(self.folder):
            if other not in (target, self.newest):
                shutil.rmtree(other)
        self.newest = target

    def _publish(self, state: Mapping[str, Tensor]) -> None:
        start = self.published
        weights = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
        with replacing(self.folder / WEIGHTS) as beside:
            save_tensors(beside, weights)


def _newest_whole(states: list[Path], training: Mapping[str, Any]) -> Resumed:
    """Return the first of the states, newest first, that is whole."""
    said = ""
    for state in states:
        try:
            counters = Counters.read(state / COUNTERS, training)
            resumed = Resumed(state, counters, load_tensors(state / TENSORS), training)
            if counters.step != _step_of(state):
                raise InputError(f"{state / COUNTERS} is of step {counters.step}.")
        except InputError as error:
            said = said or str(error)
            continue
        if said:
            _LOGGER.warning("%s Going on from %s, the state before it.", said, state)
        return resumed
    raise InputError(
        f"{said} No other state of the run is whole: without that file, train anew in another "
        "folder."
    )


def run_config(folder: Path) -> dict[str, Any]:
    """Return what a run's config.json says; where that is damaged, what its newest whole copy says.

    Raises:
        InputError: If none is whole.
    """
    states = sorted(_step_folders(folder), key=_step_of, reverse=True)
    return _first_whole([folder / CONFIG, *(state / CONFIG for state in states)])


def _first_whole(configs: list[Path]) -> dict[str, Any]:
    """Return what config.json says, or where that is damaged, the first copy that is whole."""
    for copy in configs[1:]:
        try:
            return read_json(configs[0])
        except InputError as error:
            if _is_whole(copy):
                _LOGGER.warning("%s Reading its copy, %s.", error, copy)
                return read_json(copy)
    return read_json(configs[0])


def _is_whole(config: Path) -> bool:
    try:
        read_json(config)
    except InputError:
        return False
    return True


def _refuse_changes(
    before: dict[str, Any], now: dict[str, Any], defaults: Mapping[str, Any], config: Path
) -> None:
    was, is_now = dict(_leaves(before)), dict(_leaves(now))
    known = dict(_leaves(dict(defaults)))
    was |= {field: known[field] for field in is_now if field not in was and field in known}
    for field in [*was, *is_now]:
        if field in MAY_CHANGE or was.get(field, _MISSING) == is_now.get(field, _MISSING):
            continue
        old, new = (json.dumps(d[field]) if field in d else "not there" for d in (was, is_now))
        raise InputError(
            f"{field} is {new}, and {old} in {config}; resume with what the run began with, or "
            "name another folder."
        )


_MISSING = object()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of nested mappings as ("policy.horizon", 16)."""
    if not isinstance(value, dict) or (path and not value):
        yield path, value
        return
    for key, below in value.items():
        yield from _leaves(below, f"{path}.{key}" if path else key)


def _step_folders(folder: Path) -> list[Path]:
    """Return the checkpoints; folders with other endings are leftovers of a killed process."""
    found = folder.glob(f"{STATES}/step-*")
    return [path for path in found if re.fullmatch(r"step-\d+", path.name)]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
