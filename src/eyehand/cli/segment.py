"""Train a network to say what every pixel of a robot scene shows; measure it and draw its answers.

Run:
    eyehand segment unet --out outputs/unet
    eyehand segment fcn8s --tasks drawer-open,faucet-open --minutes 10 --out outputs/fcn8s
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from eyehand.runs.segment import SegmentConfig, segment


def run(arguments: list[str]) -> None:
    """Read the arguments, train, measure."""

    def start(
        network: tyro.conf.Positional[str],
        out: Path,
        config: Annotated[SegmentConfig, tyro.conf.arg(name="")],
        minutes: float | None = None,
        steps: int | None = None,
        threads: int | None = None,
        resume: bool = False,
    ) -> None:
        """Train and measure.

        Args:
            network: Its name: unet, fcn32s, fcn16s or fcn8s.
            out: Folder for pictures, checkpoints, metrics, results.json and masks.png.
            config: The recipe.
            minutes: Minutes of training; left out, as the recipe says.
            steps: Steps of training; left out, as the recipe says.
            threads: Threads of torch; one is faster where other programs keep the cores busy.
            resume: Continue from the last checkpoint in the folder.
        """
        if (minutes, steps) != (None, None):
            training = replace(config.training, minutes=minutes, steps=steps)
            config = replace(config, training=training)
        if threads is not None:
            config = replace(config, training=replace(config.training, threads=threads))
        found = segment(network, config, out, resume=resume)
        table = Table("figure", "value", title=f"{network}, {found['test_pictures']} test pictures")
        for name in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"):
            table.add_row(name.replace("_", " "), f"{found[name]:.2%}")
        for name, iou in found["iou"].items():
            table.add_row(f"IoU of {name}", "-" if iou is None else f"{iou:.2%}")
        console = Console(highlight=False, soft_wrap=True)
        console.print(table)
        console.print(f"pictures beside the network's answers: {out / 'masks.png'}")

    tyro.cli(start, args=arguments, prog="eyehand segment", description=__doc__)
