"""Train a vision network to classify pictures, and measure it on other pictures.

Run:
    eyehand classify resnet18 --out outputs/resnet18
    eyehand classify lenet5 --data digits --minutes 1 --out outputs/lenet5
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from eyehand.runs.classify import ClassifyConfig, classify


def run(arguments: list[str]) -> None:
    """Read the arguments, train, measure."""

    def start(
        network: tyro.conf.Positional[str],
        out: Path,
        config: Annotated[ClassifyConfig, tyro.conf.arg(name="")],
        minutes: float | None = None,
        steps: int | None = None,
        threads: int | None = None,
        resume: bool = False,
    ) -> None:
        """Train and measure.

        Args:
            network: Its name, such as lenet5, alexnet, vgg11, googlenet, resnet18, mobilenet or
                vit-tiny.
            out: Folder for checkpoints, metrics and results.json.
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
        found = classify(network, config, out, resume=resume)
        low, high = found["interval"]
        Console(highlight=False, soft_wrap=True).print(
            f"{network} on {config.data}: {found['accuracy']:.2%} correct of "
            f"{found['test_pictures']:,} test pictures "
            f"(95 % interval {low:.2%} to {high:.2%}), "
            f"{found['parameters']:,} parameters, {found['steps']:,} steps in "
            f"{found['seconds'] / 60:.1f} minutes; {out / 'results.json'}"
        )

    tyro.cli(start, args=arguments, prog="eyehand classify", description=__doc__)
