"""Train a policy on a data set, by the recipe that you name.

Run:
    eyehand train bcz-metaworld --data outputs/demo/data --out outputs/bcz --minutes 10
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.recipes import RECIPES, find_recipe
from eyehand.recipes.run import TrainingRun, run_training


@dataclass(frozen=True)
class TrainArguments:
    """One training run."""

    data: Path
    """Folder of the data set, in the LeRobot v3 layout."""
    out: Path
    """Folder for checkpoints, metrics and the resolved config."""
    run: Annotated[tyro.conf.AvoidSubcommands[TrainingRun], tyro.conf.arg(name="")]
    """The recipe."""
    minutes: float | None = None
    """Train this long instead of what the recipe says."""
    steps: int | None = None
    """Train this many steps instead of what the recipe says."""
    resume: bool = False
    """Go on from the last checkpoint in the folder."""


def run(arguments: list[str]) -> None:
    """Parse, train."""
    if not arguments or arguments[0] in ("-h", "--help"):
        recipes = "\n".join(f"  {name}" for name in RECIPES)
        sys.stdout.write(
            f"{__doc__}\nRecipes (`eyehand train RECIPE --help` shows every knob):\n{recipes}\n"
        )
        return
    recipe = find_recipe(arguments[0])
    wanted = tyro.cli(
        TrainArguments,
        args=arguments[1:],
        prog=f"eyehand train {arguments[0]}",
        default=TrainArguments(data=tyro.MISSING, out=tyro.MISSING, run=recipe),
    )
    chosen = wanted.run
    if (wanted.minutes, wanted.steps) != (None, None):
        training = replace(chosen.training, minutes=wanted.minutes, steps=wanted.steps)
        chosen = replace(chosen, training=training)
    run_training(chosen, wanted.data, wanted.out, resume=wanted.resume)
