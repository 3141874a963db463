"""The sentences that a robot is told: one canonical sentence and twelve paraphrases for every task.

They live in ``instructions.toml`` beside this file. The canonical sentences are those of LeRobot's
Meta-World environment (https://github.com/huggingface/lerobot, ``metaworld_config.json``), except
that ``push`` and ``push-back``, which share one there, have two.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from eyehand.functional.names import unknown_name
from eyehand.types import InputError


@dataclass(frozen=True)
class Instructions:
    """The sentences of one task."""

    canonical: str
    """The published sentence, which recordings and the reported score use."""
    training: tuple[str, ...]
    """Paraphrases that a policy may be trained on."""
    held_out: tuple[str, ...]
    """Paraphrases that no policy is trained on, for the probe."""


@cache
def _table() -> dict[str, Instructions]:
    text = files("eyehand.envs").joinpath("instructions.toml").read_text(encoding="utf-8")
    return {
        task: Instructions(
            canonical=row["canonical"],
            training=tuple(row["training"]),
            held_out=tuple(row["held_out"]),
        )
        for task, row in tomllib.loads(text).items()
    }


def instructions(task: str) -> Instructions:
    """Return the sentences of one task.

    Args:
        task: Name such as ``drawer-open``.

    Raises:
        InputError: If there is no such task.

    Example:
        >>> len(instructions("drawer-open").training)
        9
    """
    table = _table()
    if task not in table:
        raise InputError(unknown_name("task", task, table))
    return table[task]
