"""Record demonstrations with the simulator's scripted experts.

Run:
    eyehand record --tasks drawer-open,reach --episodes 50 --out outputs/data
"""

from functools import partial

import tyro
from rich.console import Console

from eyehand.collection.record import RecordConfig, record
from eyehand.policies.registry import find_checkpoint, load_policy


def run(arguments: list[str]) -> None:
    """Read the arguments, record, print what the data set has now."""
    wanted = tyro.cli(RecordConfig, args=arguments, prog="eyehand record", description=__doc__)
    make_policy = None
    if wanted.policy is not None:
        make_policy = partial(load_policy, find_checkpoint(wanted.policy))
        make_policy()  # here too, so that a broken checkpoint is found at once
    result = record(wanted, make_policy)
    console = Console(highlight=False, soft_wrap=True)
    for task, episodes in result.successes.items():
        console.print(f"{task}: {episodes} episodes; {result.left_out[task]} attempts left out")
    console.print(f"{result.frames} frames in {wanted.out}")
