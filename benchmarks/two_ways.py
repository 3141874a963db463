"""Two equally good ways around an obstacle: which heads take one, and which take the mean?

    python benchmarks/two_ways.py --out outputs/two-ways

Every head is trained on the same demonstrations by the same recipe for the same time, and drives
from the same start states. Writes docs/benchmarks/two_ways.md and docs/images/two_ways.svg.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from eyehand.collection.record import RecordConfig, record
from eyehand.envs.execution import Execution
from eyehand.envs.replay import replay
from eyehand.envs.rollout import Outcome, Start, rollout
from eyehand.envs.two_ways import (
    CAMERA,
    GOAL_RADIUS,
    INSTRUCTIONS,
    OBSTACLE_RADIUS,
    TASK,
    TWO_WAYS,
    TwoWaysEnv,
)
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.heads.registry import HEADS
from eyehand.policies.registry import load_policy
from eyehand.recipes import find_recipe
from eyehand.runs.train import run_training
from eyehand.runs.trial import choose_parts

DOCS = Path(__file__).parents[1] / "docs"
SIZE = 48
"""Height and width of the pictures, pixels."""
DEMONSTRATIONS, EPISODES, EXECUTED = 200, 100, 8
FIRST = 1_000_000
"""Start state of the first measured episode."""
SHOWN = 30
"""Drives that are drawn of every head."""


@dataclass(frozen=True)
class Drive:
    """How an episode went, and where."""

    outcome: Outcome
    path: np.ndarray
    """Where the robot was, from the start to after the last action, (time, 2)."""

    @property
    def hit(self) -> bool:
        """Whether the robot hit the obstacle; if it did not arrive either, its time ran out."""
        return self.outcome.terminated and not self.outcome.success


def drive_from(checkpoint: Path) -> list[Drive]:
    """Let a policy drive from every start state."""
    seeds = range(FIRST, FIRST + EPISODES)
    outcomes = rollout(
        load_policy(checkpoint),
        TWO_WAYS,
        [Start(TASK, seed, INSTRUCTIONS.canonical) for seed in seeds],
        execution=Execution(steps=EXECUTED),
        cameras={CAMERA: SIZE},
    )
    env, drives = TwoWaysEnv(cameras={CAMERA: SIZE}, render_observations=False), []
    for outcome in outcomes:
        moments = replay(env, outcome.start.seed, list(outcome.actions))
        path = np.stack([moment.observation["state"] for moment in moments])
        drives.append(Drive(outcome, path))
    return drives


def train_head(name: str, data: Path, out: Path, minutes: float) -> None:
    """Train BC-Z, small, with one head."""
    recipe = find_recipe("bcz-metaworld")
    run = replace(
        recipe,
        policy=BCZConfig(image_size=SIZE, gripper=0, dims=(16, 32, 64), keypoints=16),
        training=replace(recipe.training, minutes=minutes),
        random_shift=0,
        color_jitter=0.0,
    )
    run = choose_parts(run, {"policy.head": name})
    if run.policy.history > 1:  # frames lie as far apart as plans will
        run = replace(run, policy=replace(run.policy, history_stride=EXECUTED))
    run_training(run, [data], out, resume=True)


def percent(count: int, total: int) -> str:
    """Return a rate with its interval."""
    low, high = (100 * end for end in binomtest(count, total).proportion_ci(method="wilson"))
    return f"{100 * count / total:.0f} ({low:.0f}-{high:.0f})"


def page(drives: Mapping[str, Sequence[Drive]], minutes: float) -> str:
    """Return the page with the table."""
    rows = ["| head | arrived, % | hit the obstacle, % | of those that arrived, left | steps |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for name, own in drives.items():
        arrived = [drive for drive in own if drive.outcome.success]
        left = sum(passes_left(drive) for drive in arrived)
        steps = [len(drive.path) - 1 for drive in arrived]
        rows.append(
            f"| {name} | {percent(len(arrived), len(own))} | "
            f"{percent(sum(drive.hit for drive in own), len(own))} | "
            f"{f'{left}/{len(arrived)}' if arrived else ''} | "
            f"{f'{sum(steps) / len(steps):.0f}' if steps else ''} |"
        )
    table = "\n".join(rows)
    return f"""# Two ways

<!-- Written by benchmarks/two_ways.py. -->

A disc drives to a goal past an obstacle (`src/eyehand/envs/two_ways.py`). {DEMONSTRATIONS}
demonstrations pass it left or right by chance, and nothing that the policy sees says which. BC-Z
with every head, {minutes:g} minutes of training each, one training seed; {EPISODES} start states
from {FIRST:,}; {EXECUTED} of 16 planned actions are executed. In brackets 95 % Wilson intervals.

{table}

The first {SHOWN} drives of each head; those that hit are red:

![Drives of every head](../images/two_ways.svg)

```bash
python benchmarks/two_ways.py --minutes {minutes:g} --out outputs/two-ways
```
"""


def passes_left(drive: Drive) -> bool:
    """Tell on which side of the middle line the drive was at its widest."""
    return bool(drive.path[abs(drive.path[:, 0]).argmax(), 0] < 0)


def picture(drives: Mapping[str, Sequence[Drive]]) -> str:
    """Draw the drives of every head beside each other."""
    cell, columns = 200, 5
    height = (cell + 24) * -(-len(drives) // columns)
    width = (cell + 10) * columns
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f"<style>{STYLE}</style>",
    ]
    env = TwoWaysEnv(cameras={"top": SIZE})
    env.reset(seed=FIRST)

    def disc(kind: str, x: float, y: float, radius: float) -> str:
        scale = cell / 2
        return (
            f'<circle class="{kind}" cx="{scale * (1 + x):.1f}" cy="{scale * (1 - y):.1f}" '
            f'r="{scale * radius:.1f}"/>'
        )

    for number, (name, own) in enumerate(drives.items()):
        row, column = divmod(number, columns)
        parts += [
            f'<g transform="translate({column * (cell + 10)},{row * (cell + 24)})">',
            f'<text x="4" y="15">{escape(name)}</text><g transform="translate(0,22)">',
            f'<rect class="floor" width="{cell}" height="{cell}"/>',
            disc("obstacle", *env.obstacle, OBSTACLE_RADIUS),
            disc("goal", *env.goal, GOAL_RADIUS),
        ]
        for drive in own[:SHOWN]:
            points = " ".join(
                f"{cell / 2 * (1 + x):.1f},{cell / 2 * (1 - y):.1f}" for x, y in drive.path
            )
            kind = "arrived" if drive.outcome.success else "failed"
            parts.append(f'<polyline class="{kind}" points="{points}"/>')
        parts.append("</g></g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


STYLE = """
text{font:14px system-ui,sans-serif;fill:#1d1f23}.floor{fill:#efece4}.obstacle{fill:#8a8f98}
.goal{fill:#1c8a48}polyline{fill:none;stroke-width:1;opacity:.6}
.arrived{stroke:#3f75b5}.failed{stroke:#d0342c}
@media(prefers-color-scheme:dark){text{fill:#eceae4}.floor{fill:#23272d}.obstacle{fill:#5b616b}
.arrived{stroke:#6c9fdc}.failed{stroke:#ff7a70}}
"""


def main() -> None:
    """Record, train every head, drive, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of data and checkpoints")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, per head")
    wanted = parser.parse_args()
    record(
        RecordConfig(
            out=wanted.out / "data",
            suite=TWO_WAYS.name,
            tasks=TASK,
            episodes=DEMONSTRATIONS,
            image_size=SIZE,
        )
    )
    drives = {}
    for name in HEADS:
        train_head(name, wanted.out / "data", wanted.out / name, wanted.minutes)
        drives[name] = drive_from(wanted.out / name)
        successes = sum(drive.outcome.success for drive in drives[name])
        print(json.dumps({"head": name, "arrived": successes, "of": EPISODES}))
    (DOCS / "benchmarks").mkdir(exist_ok=True)
    (DOCS / "benchmarks" / "two_ways.md").write_text(page(drives, wanted.minutes))
    (DOCS / "images" / "two_ways.svg").write_text(picture(drives))


if __name__ == "__main__":
    main()
