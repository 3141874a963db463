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
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from eyehand import __version__
from eyehand.training.ema import MovingAverage
from eyehand.types import InputError

MAY_CHANGE = {
    f"training.{field}"
    for field in ("steps", "minutes", "checkpoint_minutes", "checkpoint_steps", "log_every")
}
"""Fields of config.json that a resumed run may change: they do not decide what is learnt."""

_FULL = StateDictOptions(
    full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False
)
"""Whole tensors on the first process, however the model is wrapped or sharded."""


def open_run(folder: Path, description: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Check that a run may begin or go on in ``folder``; writes nothing.

    Args:
        folder: The run's folder; need not exist.
        description: What config.json is to say, as JSON values.
        resume: Go on from the latest checkpoint; with none there, begin.

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
        try:
            before = dict(json.loads(config.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise InputError(f"{config} cannot be read: {error}.") from error
        before.pop("made_with", None)
        _refuse_changes(before, json.loads(json.dumps(description)), config)
    return states[-1] if states else None


def read_counters(state: Path) -> dict[str, Any]:
    """Return what the loop counted when it made the step folder ``state``."""
    counters: dict[str, Any] = json.loads((state / "state.json").read_text(encoding="utf-8"))
    return counters


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write config.json: ``description``, and what the run is made with.

    Args:
        folder: The run's folder; made where it does not exist.
        description: JSON values; the key ``made_with`` is added (command, commit, versions).
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {
        "command": sys.argv,
        "commit": _commit(),
        "eyehand": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    text = json.dumps({**description, "made_with": made_with}, indent=2) + "\n"
    replace_file(folder / "config.json", text)


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` such that a kill at any moment leaves the old or the new text."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    _flush(beside)
    os.replace(beside, path)
    _flush(path.parent)


class Checkpoints:
    """Saves and restores a run; every process calls, the first one writes.

    Args:
        folder: The run's folder.
        model: The module as accelerate prepared it.
        prefix: What stands before the names of the policy in ``model``, such as ``"policy."``.
        optimizer: Its optimizer, unwrapped.
        average: The moving average of its trainable parameters.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: nn.Module,
        prefix: str,
        optimizer: Optimizer,
        average: MovingAverage,
    ) -> None:
        self.folder = folder
        self.model = model
        self.prefix = prefix
        self.optimizer = optimizer
        self.average = average

    def save(self, counters: Mapping[str, Any], *, writes: bool) -> None:
        """Make ``training_state/step-N`` and then ``model.safetensors``; drop older states.

        Args:
            counters: JSON values that the loop goes on from, ``step`` among them.
            writes: True on the one process that writes.
        """
        weights = self._weights()
        optimizer: dict[str, Any] = get_optimizer_state_dict(
            self.model, self.optimizer, options=_FULL
        )
        with self.average.applied():
            averages = self._weights()
        if not writes:
            return
        state = {f"weights/{name}": tensor for name, tensor in weights.items()}
        state |= {f"averages/{name}": tensor for name, tensor in averages.items()}
        for name, fields in optimizer["state"].items():
            name = name.removeprefix(self.prefix)
            state |= {f"optimizer/{field}/{name}": tensor for field, tensor in fields.items()}
        target = self.folder / "training_state" / f"step-{counters['step']:08d}"
        beside = target.with_suffix(".tmp")
        for left in [*_leftovers(self.folder), target]:  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        beside.mkdir(parents=True)
        _save_tensors(state, beside / "tensors.safetensors", {})
        replace_file(beside / "state.json", json.dumps(dict(counters), indent=2) + "\n")
        os.rename(beside, target)
        _flush(target.parent)
        self._publish(averages, counters["step"])
        for older in _step_folders(self.folder):
            if _step_of(older) < counters["step"]:
                shutil.rmtree(older)

    def load(self, state: Path, *, writes: bool) -> None:
        """Restore weights, averages and optimizer from a step folder.

        Args:
            state: ``training_state/step-N``.
            writes: True on the one process that brings model.safetensors in line with it.

        Raises:
            InputError: If the file is of another network.
        """
        tensors = load_file(state / "tensors.safetensors")
        optimizer: dict[str, dict[str, Tensor]] = {}
        parts: dict[str, dict[str, Any]] = {"weights": {}, "averages": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/", 1)
            if part == "optimizer":
                field, name = name.split("/", 1)
                optimizer.setdefault(self.prefix + name, {})[field] = tensor
            else:
                parts[part][self.prefix + name] = tensor
        self._refuse_other_network(parts["weights"], state)
        with self.average.applied():
            set_model_state_dict(self.model, dict(parts["averages"]), options=_FULL)
        set_model_state_dict(self.model, dict(parts["weights"]), options=_FULL)
        self._set_optimizer(optimizer)
        if writes:
            averages = {n.removeprefix(self.prefix): t for n, t in parts["averages"].items()}
            self._publish(averages, _step_of(state))

    def _weights(self) -> dict[str, Tensor]:
        """Every entry of the state but frozen parameters, whole, by the policy's own names."""
        state: dict[str, Any] = get_model_state_dict(self.model, options=_FULL)
        # Copies: on a CPU the state is the parameters themselves, which averages pass through;
        # and safetensors refuses tied weights and channels-last ones.
        return {
            name.removeprefix(self.prefix): tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }

    def _publish(self, averages: dict[str, Tensor], step: int) -> None:
        beside = self.folder / "model.safetensors.tmp"
        _save_tensors(averages, beside, {"step": str(step)})
        os.replace(beside, self.folder / "model.safetensors")
        _flush(self.folder)

    def _set_optimizer(self, state: dict[str, dict[str, Tensor]]) -> None:
        # Not of _FULL, which gives the first process alone the settings of the groups.
        settings: dict[str, Any] = get_optimizer_state_dict(self.model, self.optimizer)
        restored = {**settings, "state": state}
        set_optimizer_state_dict(self.model, self.optimizer, restored, options=_FULL)
        for parameter, fields in self.optimizer.state.items():
            for field, value in fields.items():
                # The fused step walks all of a parameter's tensors in the order of memory, and the
                # file has lost that of channels-last filters.
                if value.shape == parameter.shape:
                    fields[field] = torch.empty_like(parameter).copy_(value)

    def _refuse_other_network(self, weights: Mapping[str, Tensor], state: Path) -> None:
        ours: dict[str, Any] = get_model_state_dict(
            self.model, options=StateDictOptions(ignore_frozen_params=True)
        )
        for name, tensor in ours.items():
            there = weights.get(name)
            if there is None or there.shape != tensor.shape:
                found = "is not there" if there is None else f"is {tuple(there.shape)}"
                raise InputError(
                    f"{state} is of another network: {name.removeprefix(self.prefix)} "
                    f"{found} and must be {tuple(tensor.shape)}; name another folder."
                )


def _refuse_changes(before: dict[str, Any], now: dict[str, Any], config: Path) -> None:
    was, is_now = dict(_leaves(before)), dict(_leaves(now))
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
    return [p for p in folder.glob("training_state/step-*") if p.suffix != ".tmp"]


def _leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("training_state/step-*.tmp"))


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    save_file({n: tensor.contiguous() for n, tensor in tensors.items()}, path, metadata=metadata)
    _flush(path)


def _flush(path: Path) -> None:
    """Wait until the disk holds ``path``, a file or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _commit() -> str | None:
    """Return the commit that this code is checked out at, if it is."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None
