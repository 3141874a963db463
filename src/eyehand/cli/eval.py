"""Measure a policy closed loop on start states it never saw; write results.json and report.html.

Run:
    eyehand eval outputs/demo/policy --tasks drawer-open --episodes 20 --out outputs/evaluation
    eyehand eval --server ws://127.0.0.1:8000 --tasks drawer-open --out outputs/served
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.registry import find_checkpoint
from eyehand.runs.measure import measure, measure_server
from eyehand.types import InputError


@dataclass(frozen=True)
class EvalArguments:
    """One evaluation."""

    config: Annotated[EvalConfig, tyro.conf.arg(name="")]
    """What is measured, and how."""
    checkpoint: tyro.conf.Positional[Path | None] = None
    """Folder of a trained policy, or the name of a released one."""
    server: str | None = None
    """Address of a policy server instead; its token, if any, is the variable EYEHAND_TOKEN."""
    camera: str | None = None
    """The picture for a server that does not say what it reads; left out, the suite's usual one."""
    image_size: int = 224
    """Height and width of that picture, pixels."""
    rerun: Path | None = None
    """Also write the filmed episodes into a recording for the rerun viewer, an .rrd file."""


def run(arguments: list[str]) -> None:
    """Parse, measure."""
    wanted = tyro.cli(EvalArguments, args=arguments, prog="eyehand eval", description=__doc__)
    if (wanted.checkpoint is None) == (wanted.server is None):
        raise InputError("what is measured is a checkpoint, or --server ADDRESS: name one of them.")
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
