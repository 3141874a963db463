"""A robot finds its way through mazes that it never saw: learnt, and by simple rules.

    python -m benchmarks.mazes --out outputs/mazes

Two policies learn by PPO: one feels how long it has been nearby, one does not. They and three
rules are measured in the same 100 unseen mazes as large as in learning, and in 100 larger ones.
What is done is kept in the folder, and skipped by the next call. Writes docs/benchmarks/mazes.md.
"""

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from eyehand.envs.mazes import RAYS, Mazes, MazesConfig
from eyehand.files import replace_text
from eyehand.rl.experience import Act, measure
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import EnvironmentRun, learn_environment, load_environment_policy

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "mazes.md"
FIRST, EPISODES = 2_101_000, 100
"""First seed of the mazes that are measured, and how many there are."""
STEPS, ROBOTS = 3_000_000, 64
PPO = PPOConfig(steps=64, epochs=5, minibatch=1024, learning_rate=3e-4, dims=(128, 128))
TRAININGS = {"learnt": MazesConfig(), "learnt, without a trail": MazesConfig(trail=False)}
WORLDS = {
    "3 to 6 cells a side, as in learning": MazesConfig(),
    "the same without round trips": MazesConfig(loops=0),
    "8 cells a side": MazesConfig(cells=(8, 8), seconds=120.0),
}


def at_random(observation: Tensor, *, draw: torch.Generator) -> Tensor:
    """Return any action."""
    return 2 * torch.rand(len(observation), 2, generator=draw) - 1


def straight(observation: Tensor) -> Tensor:
    """Return the action that turns to the goal, and drives where it lies ahead."""
    ahead, left = observation[:, RAYS + 1], observation[:, RAYS + 2]
    return torch.stack([ahead.clamp(min=0), (3 * torch.atan2(left, ahead)).clamp(-1, 1)], dim=1)


def along_the_wall(observation: Tensor) -> Tensor:
    """Return the action that keeps the wall on the right near ("right-hand rule")."""
    front = observation[:, [0, 1, RAYS - 1]].min(dim=1).values * 3
    right = torch.minimum(observation[:, 3 * RAYS // 4], 0.8 * observation[:, 7 * RAYS // 8]) * 3
    blocked = front < 0.45
    turn = torch.where(blocked, 1.0, (4 * (0.4 - right)).clamp(-1, 0.6))
    return torch.stack([torch.where(blocked, 0.0, 0.7), turn], dim=1)


def in_file_name(name: str) -> str:
    """Return a name without commas and spaces."""
    return name.replace(", ", "-").replace(" ", "-")


def learnt(name: str, out: Path) -> dict[str, Any]:
    """Let a policy learn, unless it has; return what its run says of itself."""
    folder = out / in_file_name(name)
    results = folder / "results.json"
    if not results.exists():
        run = EnvironmentRun(environment="mazes", steps=STEPS, environments=ROBOTS)
        learn_environment(
            "ppo", run, PPO, folder, world=TRAININGS[name], resume=folder.exists(), threads=None
        )
    return {"folder": folder, **json.loads(results.read_text())}


def measured(name: str, act: Act, *, trail: bool, out: Path) -> dict[str, list[dict[str, float]]]:
    """Return the episodes of a policy in every world, unless they are kept."""
    kept = out / f"episodes-{in_file_name(name)}.json"
    worlds = json.loads(json.dumps({title: asdict(world) for title, world in WORLDS.items()}))
    if not kept.exists() or json.loads(kept.read_text())["worlds"] != worlds:
        seeds = range(FIRST, FIRST + EPISODES)
        found = {
            title: measure(act, Mazes(replace(world, trail=trail), 50), seeds)
            for title, world in WORLDS.items()
        }
        replace_text(kept, json.dumps({"worlds": worlds, "episodes": found}) + "\n")
    episodes: dict[str, list[dict[str, float]]] = json.loads(kept.read_text())["episodes"]
    return episodes


def cell(episodes: list[dict[str, float]]) -> str:
    """Return successes with their interval, and the mean SPL."""
    won = int(sum(one["success"] for one in episodes))
    low, high = binomtest(won, len(episodes)).proportion_ci(method="wilson")
    spl = np.mean([one["spl"] for one in episodes])
    return f"{won} ({100 * low:.0f} to {100 * high:.0f}), {spl:.2f}"


def page(
    found: dict[str, dict[str, list[dict[str, float]]]], runs: dict[str, dict[str, Any]]
) -> str:
    """Return the page."""
    rows = "\n".join(
        f"| {name} | " + " | ".join(cell(worlds[title]) for title in WORLDS) + " |"
        for name, worlds in found.items()
    )
    minutes = "\n".join(
        f"- {name}: {run['environment_steps']:,} steps in {run['seconds'] / 60:.0f} minutes on "
        "one core"
        for name, run in runs.items()
    )
    settings = ", ".join(f"{name} {value}" for name, value in asdict(PPO).items())
    return f"""# A way through mazes that it never saw

<!-- Written by `python -m benchmarks.mazes`. -->

A robot on wheels feels 16 distances of at most 3 m, the direction and distance of the goal as the
crow flies, and how long it has been nearby; it knows no map. Of 100 mazes (seeds {FIRST:,} to
{FIRST + EPISODES - 1:,}, looked at once; those of learning begin elsewhere): how often it arrived
within a minute (two in the larger ones), the 95 % interval by Wilson, and SPL (success times the
shortest way over the way that was driven). One training each:

| policy | {" | ".join(WORLDS)} |
| --- |{" --- |" * len(WORLDS)}
{rows}

Straight drives towards the goal and slides along walls. The right-hand rule keeps a wall on its
right. {MazesConfig().loops} walls are missing, so that some ways are round trips.

What learnt, and how long:

{minutes}

PPO: {settings}; {ROBOTS} robots. Rewards are metres of the
shortest way, 2.5 at the goal, and a loss of 0.01 a step.

```bash
python -m benchmarks.mazes --out outputs/mazes
```
"""


def main() -> None:
    """Learn and measure what is not kept yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    rules: dict[str, Act] = {
        "at random": partial(at_random, draw=draw),
        "straight to the goal": straight,
        "right-hand rule": along_the_wall,
    }
    found = {name: measured(name, act, trail=True, out=wanted.out) for name, act in rules.items()}
    runs = {name: learnt(name, wanted.out) for name in TRAININGS}
    for name, run in runs.items():
        act = load_environment_policy(run["folder"])
        found[name] = measured(name, act, trail=TRAININGS[name].trail, out=wanted.out)
    replace_text(PAGE, page(found, runs))


if __name__ == "__main__":
    main()
