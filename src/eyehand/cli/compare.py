"""Compare values of any setting of a recipe, or search for the best value.

Run:
    eyehand compare heads --tasks mt10 --minutes 20 --out outputs/heads
    eyehand compare chains --recipe bcz-libero --suite libero-goal --tasks all --chains 200 \
        --out outputs/chains
    eyehand compare policy.head=mlp,lstm,flow policy.horizon=8,16 --out outputs/compared
    eyehand compare training.learning-rate=1e-4..1e-2 --trials 20 --seed 10000 --out outputs/search

Values (field=a,b) are compared: every combination is trained and measured, the differences are
tested on paired start states, and comparison.md is written. A range (field=low..high) is searched.
Several machines share the work with --storage URL.
"""

from typing import Annotated

import tyro

from eyehand.recipes import find_recipe
from eyehand.runs.compare import CompareConfig, compare


def run(arguments: list[str]) -> None:
    """Read the arguments and compare."""

    def start(
        axes: tyro.conf.Positional[tuple[str, ...]],
        config: Annotated[CompareConfig, tyro.conf.arg(name="")],
    ) -> None:
        """Compare.

        Args:
            axes: What varies: heads, chains, or any number of field=value,value and
                field=low..high.
            config: All other settings.
        """
        compare(axes, config, find_recipe(config.recipe))

    tyro.cli(start, args=arguments, prog="eyehand compare", description=__doc__)
