"""Train a network to say what every pixel of a robot scene shows; measure it and draw its answers.

Run:
    eyehand segment unet --out outputs/unet
    eyehand segment fcn8s --tasks drawer-open,faucet-open --minutes 10 --out outputs/fcn8s
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from eyehand.runs.segment import SegmentConfig, segment
from eyehand.training.config import TrainOptions


@dataclass(frozen=True, kw_only=True)
class SegmentArguments(TrainOptions):
    """One training and its measurement; pictures and masks.png go into the folder too."""

    network: tyro.conf.Positional[str]
    """Its name: unet, fcn32s, fcn16s or fcn8s."""
    config: Annotated[SegmentConfig, tyro.conf.arg(name="")] = field(default_factory=SegmentConfig)
    """The recipe."""


def run(arguments: list[str]) -> None:
    """Read the arguments, train, measure."""
    wanted = tyro.cli(SegmentArguments, args=arguments, prog="eyehand segment", description=__doc__)
    config = replace(wanted.config, training=wanted.applied(wanted.config.training))
    found = segment(wanted.network, config, wanted.out, resume=wanted.resume)
    title = f"{wanted.network}, {found['test_pictures']} test pictures"
    table = Table("figure", "value", title=title)
    for name in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"):
        table.add_row(name.replace("_", " "), f"{found[name]:.2%}")
    for name, iou in found["iou"].items():
        table.add_row(f"IoU of {name}", "-" if iou is None else f"{iou:.2%}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"pictures beside the network's answers: {wanted.out / 'masks.png'}")
