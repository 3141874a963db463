"""Measure a policy closed loop on start states it never saw; write results.json and report.html.

Run:
    eyehand eval outputs/demo/policy --tasks drawer-open --episodes 20 --out outputs/evaluation
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.registry import find_checkpoint
from eyehand.recipes.measure import measure


@dataclass(frozen=True)
class EvalArguments:
    """One evaluation."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a trained policy, or the name of a released one."""
    config: Annotated[EvalConfig, tyro.conf.arg(name="")]
    """What is measured, and how."""


def run(arguments: list[str]) -> None:
    """Parse, measure."""
    wanted = tyro.cli(EvalArguments, args=arguments, prog="eyehand eval", description=__doc__)
    measure(find_checkpoint(wanted.checkpoint), wanted.config)
