"""Train a vision network to classify pictures, and measure it on other pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyehand.data.pictures import load_pictures
from eyehand.evaluation.results import Rate
from eyehand.models.registry import find_network
from eyehand.runs.picture_run import (
    NetworkConfig,
    PictureTraining,
    train_network,
    write_picture_results,
)
from eyehand.types import LARGEST_SIDE, check_ranges

SIZES = {"alexnet": 67, "spp-net": 96, "vit-b-16": 64, "vit-tiny": 64}
"""Networks that need more than 32 pixels, and the size that they are given."""


@dataclass(frozen=True)
class ClassifyConfig(PictureTraining):
    """The pictures that a network learns to classify, and how it learns."""

    data: str = "fashion-mnist"
    """Set of pictures: fashion-mnist or digits."""
    image_size: int | None = None
    """Height and width that pictures are scaled to; 32 unless the network needs more."""

    def __post_init__(self) -> None:
        """Raise an `InputError` if a number is out of its range."""
        super().__post_init__()
        check_ranges(self, image_size=(1, LARGEST_SIDE))


def classify(name: str, config: ClassifyConfig, out: Path, *, resume: bool) -> dict[str, Any]:
    """Train, measure on the set's test part, write ``results.json``; return what it holds.

    Raises:
        InputError: If network or set are unknown, the set is not installed, the network cannot read
            pictures of this size, or ``out`` holds another run.
    """
    find_network(name, kind="classifier")
    train, test = load_pictures(config.data)
    network = NetworkConfig(
        name=name,
        classes=len(train.classes),
        channels=train.image.shape[-1],
        image_size=config.image_size or SIZES.get(name, 32),
    )
    _, confusion, results = train_network(
        network, train, test, config, out, data={"name": config.data}, resume=resume
    )
    right, count = int(confusion.diagonal().sum()), len(test)
    results |= {
        "accuracy": right / count,
        "interval": [*Rate.of(right, count).interval],
        "confusion": confusion.tolist(),
        "classes": list(train.classes),
    }
    write_picture_results(out, results)
    return results
