"""A run's folder: what ``--resume`` goes on from, and the weights that others load.

::

    config.json             what the caller says, the training config, command, commit, versions
    model.safetensors       averaged weights and buffers; frozen pretrained weights are left out
    training_state/step-N/
        tensors.safetensors weights, their averages, the optimizer's state
        state.json          what the loop counts

A step folder is written beside, flushed to the disk and then renamed: it is whole or it is not
there. ``model.safetensors`` is derived from it and replaced in the same way; a process killed
between the two leaves the weights of the checkpoint before, and ``--resume`` writes them anew.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from eyehand.files import flush, replace_text, replacing, software_versions, source_commit
from eyehand.training.earlier import DECAY_ONLY, renewed_counters
from eyehand.types import InputError

MAY_CHANGE = {
    f"training.{field}"
    for field in (
        "steps", "minutes", "checkpoint_minutes", "checkpoint_steps", "log_every", "threads",
    )
}  # fmt: skip
"""Fields of config.json that a resumed run may change: how long, and what decides nothing."""


def open_run(
    folder: Path,
    description: Mapping[str, Any],
    *,
    resume: bool,
    defaults: Mapping[str, Any] | None = None,
) -> Path | None:
    """Check that a run may begin or go on in ``folder``; writes nothing.

    Args:
        folder: The run's folder; need not exist.
        description: What config.json is to say, as JSON values.
        resume: Go on from the latest checkpoint; with none there, begin.
        defaults: What fields counted as that config.json does not have, because the version that
            wrote it did not have them; nested as in ``description``.

    Returns:
        The step folder to go on from, or ``None`` to begin.

    Raises:
        InputError: If ``folder`` is a file, holds a run and ``resume`` is False, or its config.json
            cannot be read or differs in a field that decides what is learnt.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: {folder} is no folder.")
    states = sorted(_step_folders(folder), key=_step_of)
    config = folder / "config.json"
    if not resume:
        if config.exists() or states:
            raise InputError(
                f"{folder} holds a run; go on with it by --resume, or name another folder."
            )
        return None
    if states and not config.exists():
        raise InputError(f"{folder} has checkpoints but no config.json; name another folder.")
    if config.exists():
        before = read_description(folder)
        before.pop("made_with", None)
        before.get("training", {}).pop(DECAY_ONLY, None)  # see `check_decay`
        now = json.loads(json.dumps(description))
        _refuse_changes(before, now, defaults or {}, config)
    return states[-1] if states else None


def read_description(folder: Path) -> dict[str, Any]:
    """Return what config.json says.

    Raises:
        InputError: If it cannot be read.
    """
    config = folder / "config.json"
    try:
        return dict(json.loads(config.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{config} cannot be read: {error}.") from error


def read_counters(state: Path) -> dict[str, Any]:
    """Return what the loop counted when it made the step folder ``state``."""
    counters = json.loads((state / "state.json").read_text(encoding="utf-8"))
    return renewed_counters(counters, read_description(state.parent.parent)["training"])


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write config.json: ``description``, and what the run is made with.

    Args:
        folder: The run's folder; made where it does not exist.
        description: JSON values; the key ``made_with`` is added (command, commit, versions).
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {"command": sys.argv, "commit": source_commit(), **software_versions()}
    text = json.dumps({**description, "made_with": made_with}, indent=2) + "\n"
    replace_text(folder / "config.json", text)


class Checkpoints:
    """Saves and restores a run's state.

    Args:
        folder: The run's folder.
        published: Beginning of the names in the state that become model.safetensors, without it.
    """

    def __init__(self, folder: Path, *, published: str) -> None:
        self.folder = folder
        self.published = published

    def save(self, counters: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        """Make ``training_state/step-N`` and then ``model.safetensors``; drop older states.

        Args:
            counters: JSON values that the loop goes on from, ``step`` among them.
            state: Everything that the update goes on from.
        """
        target = self.folder / "training_state" / f"step-{counters['step']:08d}"
        for left in self.folder.glob("training_state/step-*"):
            if left == target or left not in _step_folders(self.folder):  # of a killed process
                shutil.rmtree(left, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside:
            beside.mkdir()
            _save_tensors(state, beside / "tensors.safetensors", {})
            replace_text(beside / "state.json", json.dumps(dict(counters), indent=2) + "\n")
        self._publish(state, counters["step"])
        for older in _step_folders(self.folder):
            if _step_of(older) < counters["step"]:
                shutil.rmtree(older)

    def load(self, folder: Path, *, writes: bool) -> dict[str, Tensor]:
        """Return the state in a step folder.

        Args:
            folder: ``training_state/step-N``.
            writes: True on the one process that brings model.safetensors in line with it.
        """
        state = load_file(folder / "tensors.safetensors")
        if writes:
            self._publish(state, _step_of(folder))
        return state

    def _publish(self, state: Mapping[str, Tensor], step: int) -> None:
        start = self.published
        weights = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
        with replacing(self.folder / "model.safetensors") as beside:
            _save_tensors(weights, beside, {"step": str(step)})


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
    found = folder.glob("training_state/step-*")
    return [path for path in found if re.fullmatch(r"step-\d+", path.name)]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    save_file({n: tensor.contiguous() for n, tensor in tensors.items()}, path, metadata=metadata)
    flush(path)
