"""Train a vision network to classify pictures, and measure it on other pictures.

Run:
    eyehand classify resnet18 --out outputs/resnet18
    eyehand classify lenet5 --data digits --minutes 1 --out outputs/lenet5
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro
from rich.console import Console

from eyehand.runs.classify import ClassifyConfig, classify
from eyehand.training.config import TrainOptions


@dataclass(frozen=True, kw_only=True)
class ClassifyArguments(TrainOptions):
    """One training and its measurement."""

    network: tyro.conf.Positional[str]
    """Its name, such as lenet5, alexnet, vgg11, googlenet, resnet18, mobilenet or vit-tiny."""
    config: Annotated[ClassifyConfig, tyro.conf.arg(name="")] = field(
        default_factory=ClassifyConfig
    )
    """The recipe."""


def run(arguments: list[str]) -> None:
    """Read the arguments, train, measure."""
    wanted = tyro.cli(
        ClassifyArguments, args=arguments, prog="eyehand classify", description=__doc__
    )
    config = replace(wanted.config, training=wanted.applied(wanted.config.training))
    found = classify(wanted.network, config, wanted.out, resume=wanted.resume)
    low, high = found["interval"]
    Console(highlight=False, soft_wrap=True).print(
        f"{wanted.network} on {config.data}: {found['accuracy']:.2%} correct of "
        f"{found['test_pictures']:,} test pictures (95 % interval {low:.2%} to {high:.2%}), "
        f"{found['parameters']:,} parameters, {found['steps']:,} steps in "
        f"{found['seconds'] / 60:.1f} minutes; {wanted.out / 'results.json'}"
    )
