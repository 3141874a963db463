"""Compare anything that a recipe can be told, or search for the best of it.

Run:
    eyehand compare heads --tasks mt10 --minutes 20 --out outputs/heads
    eyehand compare policy.head=mlp,lstm,flow policy.horizon=8,16 --out outputs/compared
    eyehand compare training.learning-rate=1e-4..1e-2 --trials 20 --seed 10000 --out outputs/search

A comparison of values does every combination, tests the differences on paired start states, and
writes comparison.md. A range is searched. Several machines share the work with --storage URL.
"""

from typing import Annotated

import tyro

from eyehand.recipes import find_recipe
from eyehand.runs.compare import CompareConfig, compare


def run(arguments: list[str]) -> None:
    """Parse, compare."""

    def start(
        axes: tyro.conf.Positional[tuple[str, ...]],
        config: Annotated[CompareConfig, tyro.conf.arg(name="")],
    ) -> None:
        """Compare.

        Args:
            axes: heads, or field=value,value and field=low..high as often as you like.
            config: The rest.
        """
        compare(axes, config, find_recipe(config.recipe))

    tyro.cli(start, args=arguments, prog="eyehand compare", description=__doc__)
