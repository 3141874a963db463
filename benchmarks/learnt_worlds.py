"""What the benchmarks of our own worlds share: policies that learnt in one, measured in several.

What is done is kept in the folder of the runs, and skipped by the next call: a run by its results,
episodes by the worlds that they are of.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from eyehand.files import replace_text
from eyehand.models.checkpoint import read_config
from eyehand.rl.experience import Act, measure
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import EnvironmentRun, learn_environment
from eyehand.types import Environments

SIDE_BY_SIDE = 50
"""Environments that are measured at a time."""
Episodes = list[dict[str, float]]
"""What each episode came to."""


def learnt(name: str, run: EnvironmentRun, config: PPOConfig, world: Any, *, out: Path) -> Path:
    """Let a policy learn by PPO, unless it has; return the folder of its run."""
    folder = out / in_file_name(name)
    if not (folder / "results.json").exists():
        learn_environment(
            "ppo", run, config, folder, world=world, resume=folder.exists(), threads=None
        )
    return folder


def measured(
    name: str,
    act: Act,
    worlds: Mapping[str, Any],
    make: Callable[[Any, int], Environments],
    *,
    seeds: range,
    out: Path,
) -> dict[str, Episodes]:
    """Return the episodes of a policy in every world, unless they are kept.

    Args:
        name: Of the policy.
        act: The policy.
        worlds: Title of a world to its config.
        make: Makes environments of a config, and how many.
        seeds: Of the episodes in each world.
        out: Folder of the runs.
    """
    kept = out / f"episodes-{in_file_name(name)}.json"
    wanted = json.loads(json.dumps({title: asdict(world) for title, world in worlds.items()}))
    if not kept.exists() or json.loads(kept.read_text())["worlds"] != wanted:
        found = {}
        for title, world in worlds.items():
            environments = make(world, SIDE_BY_SIDE)
            found[title] = measure(act, environments, seeds)
            environments.close()
        replace_text(kept, json.dumps({"worlds": wanted, "episodes": found}) + "\n")
    episodes: dict[str, Episodes] = json.loads(kept.read_text())["episodes"]
    return episodes


def in_file_name(name: str) -> str:
    """Return a name without commas and spaces.

    Example:
        >>> in_file_name("rough, varied robot")
        'rough-varied-robot'
    """
    return name.replace(", ", "-").replace(" ", "-")


def successes(episodes: Episodes) -> str:
    """Return how many succeeded, with the 95 % interval by Wilson in percent."""
    won = int(sum(one["success"] for one in episodes))
    low, high = binomtest(won, len(episodes)).proportion_ci(method="wilson")
    return f"{won} ({100 * low:.0f} to {100 * high:.0f})"


def what_learnt(folders: Mapping[str, Path]) -> str:
    """Return a line for each run: its steps, its minutes by the clock, and its commit."""
    lines = []
    for name, folder in folders.items():
        run = json.loads((folder / "results.json").read_text())
        commit = read_config(folder)["made_with"]["commit"]
        lines.append(
            f"- {name}: {run['environment_steps']:,} steps in {run['seconds'] / 60:.0f} minutes on "
            f"one core, at commit `{commit[:7]}`"
        )
    return "\n".join(lines)
