"""A robot finds its way through mazes that it never saw: learnt, and by simple rules.

    python -m benchmarks.mazes --out outputs/mazes

Two policies learn by PPO: one feels how long it has been nearby, one does not. They and three
rules are measured in the same 100 unseen mazes as large as in learning, and in larger ones. Writes
docs/benchmarks/mazes.md.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learnt_worlds import Episodes, learnt, measured, successes, what_learnt
from eyehand.envs.mazes import FAR, RAYS, Mazes, MazesConfig
from eyehand.files import replace_text
from eyehand.rl.experience import Act
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import EnvironmentRun, load_environment_policy

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


def cell(episodes: Episodes) -> str:
    """Return successes with their interval, and the mean SPL."""
    return f"{successes(episodes)}, {np.mean([one['spl'] for one in episodes]):.2f}"


def page(found: Mapping[str, Mapping[str, Episodes]], learning: str) -> str:
    """Return the page.

    Args:
        found: Name of a policy to its episodes in every world.
        learning: What learnt, and how long.
    """
    rows = "\n".join(
        f"| {name} | " + " | ".join(cell(worlds[title]) for title in WORLDS) + " |"
        for name, worlds in found.items()
    )
    settings = ", ".join(f"{name} {value}" for name, value in asdict(PPO).items())
    return f"""# A way through mazes that it never saw

<!-- Written by `python -m benchmarks.mazes`. -->

A robot on wheels feels {RAYS} distances of at most {FAR:g} m, the direction and distance of the
goal as the crow flies, and how long it has been nearby; it knows no map. Of {EPISODES} mazes (seeds
{FIRST:,} to {FIRST + EPISODES - 1:,}, looked at once; those of learning begin elsewhere): how often
it arrived within a minute (two in the larger ones), the 95 % interval by Wilson, and SPL (success
times the shortest way over the way that was driven). One training each:

| policy | {" | ".join(WORLDS)} |
| --- |{" --- |" * len(WORLDS)}
{rows}

Straight drives towards the goal and slides along walls. The right-hand rule keeps a wall on its
right. {MazesConfig().loops} walls are missing, so that some ways are round trips.

What learnt, and how long:

{learning}

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
    run = EnvironmentRun(environment="mazes", steps=STEPS, environments=ROBOTS)
    folders = {
        name: learnt(name, run, PPO, world, out=wanted.out) for name, world in TRAININGS.items()
    }
    policies = [(name, act, True) for name, act in rules.items()]
    policies += [
        (name, load_environment_policy(folder), TRAININGS[name].trail)
        for name, folder in folders.items()
    ]
    seeds, found = range(FIRST, FIRST + EPISODES), {}
    for name, act, trail in policies:
        worlds = {title: replace(world, trail=trail) for title, world in WORLDS.items()}
        found[name] = measured(name, act, worlds, Mazes, seeds=seeds, out=wanted.out)
    replace_text(PAGE, page(found, what_learnt(folders)))


if __name__ == "__main__":
    main()
