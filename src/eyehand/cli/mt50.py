"""One policy for the fifty tasks of Meta-World: record, train, correct, evaluate with controls.

Every stage goes on where it was stopped, and is skipped when it is done.

Run:
    eyehand mt50 --out outputs/mt50
    eyehand mt50 roboflamingo-mt50 --out outputs/mt50-roboflamingo
"""

from typing import Annotated

import tyro

from eyehand.recipes import find_recipe
from eyehand.runs.reproduce import Mt50Config, mt50


def run(arguments: list[str]) -> None:
    """Parse, run the stages."""

    def start(
        config: Annotated[Mt50Config, tyro.conf.arg(name="")],
        recipe: tyro.conf.Positional[str] = "bcz-mt50",
    ) -> None:
        """Run.

        Args:
            config: The stages.
            recipe: What is trained: bcz-mt50 or roboflamingo-mt50.
        """
        mt50(config, find_recipe(recipe))

    tyro.cli(start, args=arguments, prog="eyehand mt50", description=__doc__)
