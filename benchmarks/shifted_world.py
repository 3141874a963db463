"""Demonstrations of the usual world added to those of changing ones: do they help in a shifted one?

    python benchmarks/shifted_world.py --out outputs/shifted-world

Ten tasks of Meta-World. In the narrow data every episode has the same light and the same camera, in
the wide data each has its own; the shifted world is dark and seen from the side. BC-Z is trained on
narrow, wide and both, equally long, and measured in the usual world and in the shifted one. Writes
docs/benchmarks/shifted_world.md.

Tested is the claim that data of one world, added to data of the world that counts, can hurt: at
equal time of training it takes the place of the other.
"""

import argparse
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eyehand.collection.record import RecordConfig, record
from eyehand.envs.metaworld import METAWORLD, MetaWorldEnv
from eyehand.evaluation.comparison import difference_by_seed
from eyehand.evaluation.protocol import EvalConfig
from eyehand.evaluation.results import Results, percent_range
from eyehand.functional.sign_flip import sign_flip_p_value
from eyehand.functional.start_seed import start_seed
from eyehand.recipes import find_recipe
from eyehand.runs.measure import measure
from eyehand.runs.train import run_training

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "shifted_world.md"
OFFSET, DARK, BRIGHT = 0.06, 0.35, 1.4
"""Largest way of the camera to either side, metres, and the ends of the lamps' brightness, in the
wide data."""
SHIFT, DIM = 0.05, 0.4
"""The shifted world: the camera's way to its right, metres, and the lamps' brightness."""
TASKS, DEMONSTRATIONS, EPISODES, FIRST = "mt10", 50, 20, 2_021_000
DATA = {"narrow": ("narrow",), "wide": ("wide",), "both": ("narrow", "wide")}
"""Name of a training to its data sets."""


class ChangingMetaWorld(MetaWorldEnv):
    """Meta-World, with another light and another place of the camera in every episode."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed, which decides light and camera, too."""
        seed = self.seed_of_episode(seed)
        random = np.random.default_rng(start_seed("light and camera", seed))
        offset, light = random.uniform([-OFFSET, DARK], [OFFSET, BRIGHT])
        self.disturb(camera_offset=offset, light=light)
        return super().reset(seed=seed, options=options)


WIDE = replace(METAWORLD, name="changing Meta-World", make=ChangingMetaWorld)
SHIFTED = replace(
    METAWORLD,
    name="shifted Meta-World",
    protocol=f"{METAWORLD.protocol}-shifted",
    make=partial(MetaWorldEnv, camera_offset=SHIFT, light=DIM),
)
SUITES = {"narrow": "metaworld", "wide": f"{Path(__file__).stem}:WIDE"}
WORLDS = {"usual": "metaworld", "shifted": f"{Path(__file__).stem}:SHIFTED"}


def train_and_measure(name: str, out: Path, minutes: float) -> dict[str, Results]:
    """Train on one choice of the data; return what the policy reached in each world."""
    recipe = find_recipe("bcz-mt50")
    run = replace(
        recipe,
        training=replace(recipe.training, minutes=minutes),
        color_jitter=0.0,  # it is a change of light, too
    )
    run_training(run, [out / part for part in DATA[name]], out / f"policy-{name}", resume=True)
    return {
        world: measure(
            out / f"policy-{name}",
            EvalConfig(
                out=out / f"evaluation-{name}-{world}",
                suite=suite,
                tasks=TASKS,
                episodes=EPISODES,
                seed=FIRST,
            ),
        )
        for world, suite in WORLDS.items()
    }


def page(found: dict[str, dict[str, Results]], minutes: float) -> str:
    """Return the page."""
    rows = [f"| trained on | {' | '.join(f'{world} world, %' for world in WORLDS)} |"]
    rows.append("| --- |" + " --- |" * len(WORLDS))
    for name, own in found.items():
        means = [own[world].task_mean for world in WORLDS]
        cells = [f"{100 * mean.value:.1f} ({percent_range(mean.interval)})" for mean in means]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    tests = []
    for one, two in combinations(found, 2):
        for world in WORLDS:
            difference = difference_by_seed(found[one][world].episodes, found[two][world].episodes)
            p = sign_flip_p_value(difference)
            tests.append(f"| {one} less {two} | {world} | {difference.sum():+d} | {p:.2g} |")
    episodes = EPISODES * len(METAWORLD.select_tasks(TASKS))
    table, differences = "\n".join(rows), "\n".join(tests)
    return f"""# Narrow, wide, and both

<!-- Written by benchmarks/shifted_world.py. -->

Demonstrations of ten tasks (MT10), {DEMONSTRATIONS} a task in each data set. `narrow` has one light
and one place of the camera; in `wide` every episode has its own: the camera up to
{100 * OFFSET:g} cm to either side, the lamps at {100 * DARK:g} to {100 * BRIGHT:g} %.
The shifted world has the camera {100 * SHIFT:g} cm to the right and the
lamps at {100 * DIM:g} %. BC-Z (`bcz-mt50` without colour jitter), {minutes:g} minutes
for each training with {torch.get_num_threads()} thread(s), one training seed; {EPISODES} episodes a
task, seeds from {FIRST:,}, looked at once. In brackets 95 % intervals that respect which episodes
share a seed, of one training.

{table}

Difference in successes of {episodes} episodes, and the exact sign-flip test by seed, not corrected
for the number of tests:

| | world | difference | p |
| --- | --- | --- | --- |
{differences}

```bash
python benchmarks/shifted_world.py --minutes {minutes:g} --out outputs/shifted-world
```
"""


def main() -> None:
    """Record, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of data and checkpoints")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each training")
    wanted = parser.parse_args()
    for name, suite in SUITES.items():
        record(
            RecordConfig(
                out=wanted.out / name,
                suite=suite,
                tasks=TASKS,
                episodes=DEMONSTRATIONS,
                perturbation=0.4,
                cameras=("work_area",),
            )
        )
    found = {name: train_and_measure(name, wanted.out, wanted.minutes) for name in DATA}
    PAGE.write_text(page(found, wanted.minutes))


if __name__ == "__main__":
    main()
