"""One run of a vision network: train on labelled pictures, measure on others, write results."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from dacite import Config as DaciteConfig
from dacite import DaciteError, from_dict
from jaxtyping import Int64
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from eyehand.available_memory import check_memory
from eyehand.checksums import save_tensors
from eyehand.data.pictures import LabelledPictures, every_picture, picture_batches
from eyehand.files import replace_text, replacing
from eyehand.models.checkpoint import WEIGHTS, load_described
from eyehand.models.registry import build_network
from eyehand.models.vision.classifier import Classifier
from eyehand.training.config import TrainConfig
from eyehand.training.loop import train
from eyehand.training.processes import processes
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import LARGEST_SIDE, InputError, PictureBatch, check_ranges

TEST_BATCH = 100
"""Pictures in a batch when a network is measured."""
NORMALIZATION_BATCHES = 20
"""Training batches for the final statistics of batch normalization."""


@dataclass(frozen=True)
class NetworkConfig:
    """A network of ``eyehand.models.registry``, its pictures and its classes."""

    name: str
    """Name of the network."""
    classes: int
    """Number of classes."""
    channels: int
    """Channels of the pictures."""
    image_size: int | None
    """Height and width that pictures are scaled to; None leaves them as they are."""

    def __post_init__(self) -> None:
        """Raise an `InputError` if a size is given and less than 1."""
        check_ranges(self, prefix="", image_size=(1, LARGEST_SIDE))

    def build(self) -> Classifier:
        """Return a new classifier.

        Raises:
            InputError: If there is no such network, or it cannot read pictures of this size.
        """
        network = build_network(
            self.name, classes=self.classes, channels=self.channels, image_size=self.image_size
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
        """Raise an `InputError` if a number is out of its range."""
        check_ranges(self, batch_size=(1, 2**63 - 1), random_shift=(0, LARGEST_SIDE))


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
    """Train a network, and measure its averaged weights on pictures that it was not trained on.

    ``data`` describes the pictures in the config.json of ``out``, the folder of the run. With
    ``resume`` it goes on from the last checkpoint there.

    Returns:
        The network; how often each class (row) was taken for each (column); and for results.json
        what was trained, for how long.

    Raises:
        InputError: If the network cannot read the pictures, or ``out`` holds another run.
    """
    state = processes()

    def batches(step: int) -> Iterator[PictureBatch]:
        return picture_batches(
            pictures,
            batch_size=learning.batch_size,
            random_shift=learning.random_shift,
            seed=learning.training.seed,
            step=step,
            process_index=state.process_index,
            process_count=state.num_processes,
        )

    check_reads(config, pictures.image.shape[1:], batch_size=learning.batch_size)
    size = config.image_size or pictures.image.shape[1]
    check_memory(
        5 * learning.batch_size // state.num_processes * size**2 * config.channels,
        f"--batch-size {learning.batch_size}",
    )
    batches(0)  # finds sizes that do not fit, before the run has a folder
    torch.manual_seed(learning.training.seed)
    classifier = config.build()

    sizes = {"batch_size": learning.batch_size, "random_shift": learning.random_shift}
    description = {"network": asdict(config), "pictures": {**data, **sizes}}
    result = train(
        SupervisedUpdate(classifier, learning.training),
        batches,
        config=learning.training,
        folder=out,
        description=description,
        resume=resume,
    )
    trained = load_classifier(out)
    if any(isinstance(part, nn.BatchNorm2d) for part in trained.modules()):
        # The statistics of the training belong to other weights than the averaged ones. With
        # EfficientNet's momentum of 0.01, after 100 steps a third of them is still the initial one.
        update_bn((batch.image for batch in islice(batches(0), NORMALIZATION_BATCHES)), trained)
        if state.is_main_process:
            with replacing(out / WEIGHTS) as beside:
                save_tensors(beside, trained.state_dict())
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
            "samples_per_second": learning.batch_size * result.steps / result.seconds,
        },
    )


def write_picture_results(out: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json``, in the main process."""
    if processes().is_main_process:
        replace_text(out / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")


def check_reads(config: NetworkConfig, shape: tuple[int, ...], *, batch_size: int) -> None:
    """Check, before a run has a folder, that a network can read (height, width, channel) pictures.

    Raises:
        InputError: If there is no such network, it cannot read pictures of this size, or not learn
            from batches of this size.
    """
    try:
        with torch.no_grad():
            classifier = config.build()
            classifier.eval()(torch.zeros(1, *shape, dtype=torch.uint8))
            if batch_size == 1:
                classifier.train()(torch.zeros(1, *shape, dtype=torch.uint8))
    except (RuntimeError, ValueError) as error:
        if "more than 1 value per channel" in str(error):
            raise InputError(
                f"{config.name} normalizes over the batch and cannot learn from one picture: "
                "--batch-size must be at least 2."
            ) from error
        reason, size = str(error).strip().splitlines()[0], config.image_size or shape[0]
        raise InputError(
            f"{config.name} cannot read pictures of {size} pixels ({reason}): give them another "
            "--image-size."
        ) from error


def load_classifier(folder: Path) -> Classifier:
    """Return the network of a run, with its averaged weights, in evaluation mode.

    Raises:
        InputError: If a file is missing, damaged, or does not fit the other one.
    """
    return load_described(folder, "network", _build)


def _build(description: Mapping[str, Any]) -> Classifier:
    try:
        config = from_dict(NetworkConfig, description, DaciteConfig(strict=True))
    except DaciteError as error:
        raise InputError(f"network config: {error}.") from error
    return config.build()
