"""The whole way in 20 minutes, to a robot that does what a sentence says.

The stages are: record demonstrations, train a policy, evaluate it, write a report. A stage that was
stopped is continued, and one that is done is skipped.

Run:
    eyehand demo --out outputs/demo
"""

import tyro

from eyehand.recipes.bcz_metaworld import bcz_metaworld
from eyehand.runs.demo import DemoConfig, demo


def run(arguments: list[str]) -> None:
    """Read the arguments and run the stages."""
    config = tyro.cli(DemoConfig, args=arguments, prog="eyehand demo", description=__doc__)
    demo(config, bcz_metaworld())
