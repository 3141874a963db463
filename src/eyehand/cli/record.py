"""Record demonstrations with the simulator's scripted experts.

Run:
    eyehand record --tasks drawer-open,reach --episodes 50 --out outputs/data
"""

import tyro

from eyehand.evaluation.record import RecordConfig, record


def run(arguments: list[str]) -> None:
    """Parse, record."""
    record(tyro.cli(RecordConfig, args=arguments, prog="eyehand record", description=__doc__))
