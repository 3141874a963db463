"""Measure a policy in the simulator, on start states that it was not trained on.

Writes results.json, report.html and films; with --chains also chains.json: how many tasks in a row
it does when they are told one after another without a reset.

Run:
    eyehand eval outputs/demo/policy --tasks drawer-open --episodes 20 --out outputs/evaluation
    eyehand eval --server ws://127.0.0.1:8000 --tasks drawer-open --out outputs/served
    eyehand eval outputs/policy --suite libero-goal --chains 200 --out outputs/chains
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.envs.suite import find_suite
from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.registry import find_checkpoint
from eyehand.runs.measure import measure, measure_server
from eyehand.serving.client import MOST_PIXELS
from eyehand.types import InputError, check_ranges


@dataclass(frozen=True)
class EvalArguments:
    """One evaluation."""

    config: Annotated[EvalConfig, tyro.conf.arg(name="")]
    """What is measured, and how."""
    checkpoint: tyro.conf.Positional[Path | None] = None
    """Folder of a trained policy, or the name of a released one."""
    server: str | None = None
    """Address of a policy server, instead of a checkpoint. If it asks for a token, set the variable
    EYEHAND_TOKEN."""
    camera: str | None = None
    """Camera for a server that does not name its own; left out, the suite's usual one."""
    image_size: int = 224
    """Height and width of that server's pictures, pixels."""
    rerun: Path | None = None
    """Also record the filmed episodes for the rerun viewer, into this .rrd file."""

    def __post_init__(self) -> None:
        """Check what the other configs do not hold."""
        check_ranges(self, image_size=(1, MOST_PIXELS))
        if self.camera is not None:
            find_suite(self.config.suite).check_cameras((self.camera,))


def run(arguments: list[str]) -> None:
    """Read the arguments and measure."""
    wanted = tyro.cli(EvalArguments, args=arguments, prog="eyehand eval", description=__doc__)
    if (wanted.checkpoint is None) == (wanted.server is None):
        raise InputError("name what is measured: either a checkpoint, or --server ADDRESS.")
    if wanted.checkpoint is not None:
        measure(find_checkpoint(wanted.checkpoint), wanted.config, rerun=wanted.rerun)
    elif wanted.server is not None:
        measure_server(
            wanted.server,
            wanted.config,
            token=os.environ.get("EYEHAND_TOKEN"),
            camera=wanted.camera,
            image_size=wanted.image_size,
            rerun=wanted.rerun,
        )
