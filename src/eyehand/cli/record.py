"""Record demonstrations with the simulator's scripted experts.

Run:
    eyehand record --tasks drawer-open,reach --episodes 50 --out outputs/data
"""

import tyro
from rich.console import Console

from eyehand.evaluation.record import RecordConfig, record


def run(arguments: list[str]) -> None:
    """Parse, record, say what there is now."""
    wanted = tyro.cli(RecordConfig, args=arguments, prog="eyehand record", description=__doc__)
    result = record(wanted)
    console = Console(highlight=False, soft_wrap=True)
    for task, episodes in result.successes.items():
        console.print(
            f"{task}: {episodes} episodes; the expert failed {result.failures[task]} times"
        )
    console.print(f"{result.frames} frames in {wanted.out}")
