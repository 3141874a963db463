"""Any checkpoint of eyehand: its ``config.json`` says which kind of network it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from eyehand.models.checkpoint import CONFIG, read_config
from eyehand.policies.registry import load_policy
from eyehand.runs.picture_run import load_classifier
from eyehand.types import InputError

READERS: dict[str, Callable[[Path], nn.Module]] = {
    "policy": load_policy,
    "network": load_classifier,
}
"""Kind of network, which is the entry of ``config.json`` that describes it, to what loads it."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint."""

    kind: str
    """A key of :data:`READERS`."""
    network: nn.Module
    """The network with its weights, in evaluation mode."""
    config: Mapping[str, Any]
    """All of ``config.json``."""


def load_checkpoint(folder: Path) -> Checkpoint:
    """Return the network in a folder, of any kind.

    Raises:
        InputError: If the folder holds none, or a file of it is damaged.
    """
    config = read_config(folder)
    for kind, read in READERS.items():
        if kind in config:
            return Checkpoint(kind, read(folder), config)
    raise InputError(f"{folder / CONFIG} must describe one of {list(READERS)}, and does not.")
