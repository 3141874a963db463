"""Repeat a published result: record, train, correct, evaluate with controls.

A stage that was stopped is continued, and one that is done is skipped.

Run:
    eyehand reproduce mt50
    eyehand reproduce mt50-roboflamingo --out outputs/mt50-roboflamingo
"""

import sys
from typing import Annotated

import tyro

from eyehand.recipes import REPRODUCTIONS, find_reproduction
from eyehand.runs.reproduce import ReproduceConfig, reproduce


def run(arguments: list[str]) -> None:
    """Read the arguments and run the stages."""
    if not arguments or arguments[0] in ("-h", "--help"):
        results = "\n".join(f"  {name}" for name in REPRODUCTIONS)
        sys.stdout.write(
            f"{__doc__}\nResults (`eyehand reproduce RESULT --help` has all settings):\n{results}\n"
        )
        return
    recipe = find_reproduction(arguments[0])

    def start(
        stages: Annotated[ReproduceConfig, tyro.conf.arg(name="")] = recipe.stages,
    ) -> None:
        """Run.

        Args:
            stages: The stages.
        """
        reproduce(stages, recipe.run)

    tyro.cli(
        start, args=arguments[1:], prog=f"eyehand reproduce {arguments[0]}", description=__doc__
    )
