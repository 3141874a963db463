"""From nothing to a robot that obeys a sentence: record, train, evaluate, report.

Every stage goes on where it was stopped, and is skipped when it is done.

Run:
    eyehand demo --out outputs/demo
"""

import tyro

from eyehand.recipes.demo import DemoConfig, demo


def run(arguments: list[str]) -> None:
    """Parse, run the four stages."""
    demo(tyro.cli(DemoConfig, args=arguments, prog="eyehand demo", description=__doc__))
