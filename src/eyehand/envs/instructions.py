"""The sentences that a robot is told: one canonical sentence and paraphrases for every task."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Instructions:
    """The sentences of one task."""

    canonical: str
    """The published sentence, which recordings and the reported score use."""
    training: tuple[str, ...] = ()
    """Paraphrases that a policy may be trained on."""
    held_out: tuple[str, ...] = ()
    """Paraphrases for the evaluation's controls; no policy is trained on them."""
    chinese: tuple[str, ...] = ()
    """The task in Chinese, in words that a policy may be trained on."""
    chinese_held_out: tuple[str, ...] = ()
    """The task in Chinese, for the controls."""


@cache
def read_instructions(name: str) -> Mapping[str, Instructions]:
    """Return the sentences of every task from the two files of that name beside this one.

    They are ``NAME_instructions.toml`` and, in Chinese, ``NAME_instructions_zh.toml``.

    Example:
        >>> found = read_instructions("metaworld")["drawer-open"]
        >>> len(found.training), len(found.chinese), len(found.chinese_held_out)
        (9, 9, 3)
    """
    english, chinese = _table(f"{name}_instructions.toml"), _table(f"{name}_instructions_zh.toml")
    return {
        task: Instructions(
            row["canonical"],
            tuple(row["training"]),
            tuple(row["held_out"]),
            (chinese[task]["canonical"], *chinese[task]["training"]),
            tuple(chinese[task]["held_out"]),
        )
        for task, row in english.items()
    }


def read_groups(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the tasks of every group from ``NAME_instructions.toml``, where each names its group.

    Example:
        >>> {group: len(tasks) for group, tasks in read_groups("libero").items()}
        {'spatial': 10, 'object': 10, 'goal': 10, '10': 10}
    """
    groups: dict[str, list[str]] = {}
    for task, row in _table(f"{name}_instructions.toml").items():
        groups.setdefault(row["group"], []).append(task)
    return {group: tuple(tasks) for group, tasks in groups.items()}


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files("eyehand.envs").joinpath(name).read_text(encoding="utf-8"))
