"""From nothing to a robot that obeys a sentence: record, train, evaluate, report.

Every stage goes on where it was stopped, and is skipped when it is done.

Run:
    eyehand demo --out outputs/demo
"""

import tyro

from eyehand.recipes.bcz_metaworld import bcz_metaworld
from eyehand.runs.demo import DemoConfig, demo


def run(arguments: list[str]) -> None:
    """Parse, run the four stages."""
    config = tyro.cli(DemoConfig, args=arguments, prog="eyehand demo", description=__doc__)
    demo(config, bcz_metaworld())
