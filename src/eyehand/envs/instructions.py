"""The sentences that a robot is told: one canonical sentence and paraphrases for every task."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Instructions:
    """The sentences of one task."""

    canonical: str
    """The published sentence, which recordings and the reported score use."""
    training: tuple[str, ...] = ()
    """Paraphrases that a policy may be trained on."""
    held_out: tuple[str, ...] = ()
    """Paraphrases for the evaluation's controls; no policy is trained on them."""


@cache
def read_instructions(name: str) -> Mapping[str, Instructions]:
    """Return the sentences of every task from ``NAME_instructions.toml`` beside this file.

    Example:
        >>> len(read_instructions("metaworld")["drawer-open"].training)
        9
    """
    file = files("eyehand.envs").joinpath(f"{name}_instructions.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        task: Instructions(row["canonical"], tuple(row["training"]), tuple(row["held_out"]))
        for task, row in table.items()
    }
