"""Train a policy on a data set, with a recipe.

Run:
    eyehand train bcz-metaworld --data outputs/demo/data --out outputs/bcz --minutes 10
    eyehand train bcz-metaworld --policy.head flow --policy.head.steps 5 ...
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.policies.registry import find_checkpoint
from eyehand.recipes import RECIPES, find_recipe
from eyehand.runs.train import TrainingRun, run_training
from eyehand.runs.trial import PARTS, choose_parts


def run(arguments: list[str]) -> None:
    """Read the arguments and train."""
    if not arguments or arguments[0] in ("-h", "--help"):
        recipes = "\n".join(f"  {name}" for name in RECIPES)
        parts = "\n".join(f"  --{part}: {', '.join(names)}" for part, names in PARTS.items())
        sys.stdout.write(
            f"{__doc__}\nRecipes (`eyehand train RECIPE --help` shows every setting):\n{recipes}\n"
            f"Parts of a policy that are chosen by name:\n{parts}\n"
        )
        return
    recipe = find_recipe(arguments[0])
    # tyro can set a part's settings but not exchange the part, so that is done before.
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for part in PARTS:
        parser.add_argument(f"--{part}", dest=part)
    chosen, rest = parser.parse_known_args(arguments[1:])
    recipe = choose_parts(recipe, vars(chosen))

    def start(
        data: tuple[Path, ...],
        out: Path,
        run: Annotated[tyro.conf.AvoidSubcommands[TrainingRun], tyro.conf.arg(name="")] = recipe,
        minutes: float | None = None,
        steps: int | None = None,
        threads: int | None = None,
        resume: bool = False,
        initial: Path | None = None,
    ) -> None:
        """Train.

        Args:
            data: Folders of the data sets, in the LeRobot v3 layout.
            out: Folder for checkpoints, metrics and the resolved config.
            run: The recipe.
            minutes: Minutes of training; left out, as the recipe says.
            steps: Steps of training; left out, as the recipe says.
            threads: Threads of torch; one is faster where other programs keep the cores busy.
            resume: Continue from the last checkpoint in the folder.
            initial: Start from the weights of this checkpoint or released policy.
        """
        if (minutes, steps) != (None, None):
            run = replace(run, training=replace(run.training, minutes=minutes, steps=steps))
        if threads is not None:
            run = replace(run, training=replace(run.training, threads=threads))
        begun = find_checkpoint(initial) if initial else None
        run_training(run, data, out, resume=resume, initial=begun)

    tyro.cli(start, args=rest, prog=f"eyehand train {arguments[0]}", description=__doc__)
