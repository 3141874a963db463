"""One run of a vision network: trained on labelled pictures, measured on others, written down."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eyehand.data.pictures import LabelledPictures, every_picture, picture_batches
from eyehand.models.vision.classifier import Classifier
from eyehand.models.vision.registry import DENSE_NETWORKS, build_dense_network, build_network
from eyehand.training.loop import TrainConfig, train
from eyehand.types import InputError

TEST_BATCH = 100
"""Pictures in a batch when a network is measured."""


@dataclass(frozen=True)
class NetworkConfig:
    """A network of ``eyehand.models.vision.registry``, and what it reads and tells apart."""

    name: str
    """Name of the network."""
    classes: int
    """How many classes it tells apart."""
    channels: int
    """Channels of the pictures."""
    image_size: int | None
    """Height and width that pictures are scaled to; none leaves them as they are."""

    def build(self) -> Classifier:
        """Return a new classifier.

        Raises:
            InputError: If there is no such network, or it cannot read pictures of this size.
        """
        network: nn.Module
        if self.name in DENSE_NETWORKS:
            network = build_dense_network(self.name, classes=self.classes, channels=self.channels)
        else:
            network = build_network(
                self.name,
                classes=self.classes,
                channels=self.channels,
                image_size=self.image_size,
            )
        return Classifier(network, image_size=self.image_size).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]  # torch's gap
        )


@dataclass(frozen=True)
class PictureTraining:
    """How a network learns from pictures; each recipe adds which pictures."""

    training: TrainConfig = field(default_factory=lambda: TrainConfig(minutes=3.0))
    """How long, and how."""
    batch_size: int = 128
    """Pictures in a batch."""
    random_shift: int = 2
    """Largest shift of the pictures, pixels; 0 switches it off."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: If a number is out of range.
        """
        if self.batch_size < 1:
            raise InputError(f"--batch-size must be at least 1; got {self.batch_size}.")
        if self.random_shift < 0:
            raise InputError(f"--random-shift must be at least 0; got {self.random_shift}.")


def train_network(
    config: NetworkConfig,
    pictures: LabelledPictures,
    test: LabelledPictures,
    learning: PictureTraining,
    out: Path,
    *,
    data: Mapping[str, Any],
    resume: bool,
) -> tuple[Classifier, Int64[Tensor, "classes classes"], dict[str, Any]]:
    """Train a network, and ask the averaged weights about pictures that it never saw.

    Args:
        config: The network.
        pictures: What it learns from.
        test: What it is asked.
        learning: How it learns.
        out: Folder of the run.
        data: What the pictures are, as config.json is to say it.
        resume: Go on from the last checkpoint in ``out``.

    Returns:
        The network; how often each class (row) was taken for each (column); and for results.json
        what was trained, for how long.

    Raises:
        InputError: If the network cannot read the pictures, or ``out`` holds another run.
    """
    check_reads(config, pictures.image.shape[1:])
    torch.manual_seed(learning.training.seed)
    classifier = config.build()

    def batches(step: int) -> Any:
        return picture_batches(
            pictures,
            batch_size=learning.batch_size,
            random_shift=learning.random_shift,
            seed=learning.training.seed,
            step=step,
        )

    sizes = {"batch_size": learning.batch_size, "random_shift": learning.random_shift}
    description = {"network": asdict(config), "pictures": {**data, **sizes}}
    result = train(
        classifier,
        batches,
        config=learning.training,
        folder=out,
        description=description,
        resume=resume,
    )
    trained = load_network(out)
    confusion = trained.confusion(
        every_picture(test, batch_size=TEST_BATCH), classes=config.classes
    )
    return (
        trained,
        confusion,
        {
            **description,
            "parameters": sum(p.numel() for p in trained.parameters()),
            "training_pictures": len(pictures),
            "test_pictures": len(test),
            "steps": result.steps,
            "seconds": result.seconds,
            "samples_per_second": result.samples_per_second,
        },
    )


def check_reads(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    """Refuse pictures that a network cannot read, before a run has a folder.

    Args:
        config: The network.
        shape: Height, width and channels of the stored pictures.

    Raises:
        InputError: If there is no such network, or it cannot read pictures of this size.
    """
    classifier = config.build().eval()
    try:
        with torch.no_grad():
            classifier(torch.zeros(1, *shape, dtype=torch.uint8))
    except (RuntimeError, ValueError) as error:
        reason, size = str(error).strip().splitlines()[0], config.image_size or shape[0]
        raise InputError(
            f"{config.name} cannot read pictures of {size} pixels ({reason}): give them another "
            "--image-size."
        ) from error


def load_network(folder: Path) -> Classifier:
    """Return the network of a run, with its averaged weights, in evaluation mode.

    Raises:
        InputError: If a file is missing, damaged, or does not fit the other one.
    """
    path = folder / "config.json"
    try:
        config = NetworkConfig(**json.loads(path.read_text(encoding="utf-8"))["network"])
        classifier = config.build()
        classifier.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is no run of a network: {error.filename} is missing."
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder} holds no network that fits its config: {reason}.") from error
    return classifier.eval()
