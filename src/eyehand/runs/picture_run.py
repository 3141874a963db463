"""One run of a vision network: trained on labelled pictures, measured on others, written down."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from eyehand.data.pictures import LabelledPictures, every_picture, picture_batches
from eyehand.models.vision.classifier import Classifier
from eyehand.models.vision.registry import DENSE_NETWORKS, build_dense_network, build_network
from eyehand.training.config import TrainConfig
from eyehand.training.loop import train
from eyehand.training.processes import processes
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import InputError, PictureBatch

TEST_BATCH = 100
"""Pictures in a batch when a network is measured."""
NORMALIZATION_BATCHES = 20
"""Training batches from which batch normalization takes its statistics in the end."""


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
    batches(0)  # refuses what cannot be, before the run has a folder
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
    trained = load_network(out)
    if any(isinstance(part, nn.BatchNorm2d) for part in trained.modules()):
        _renew_statistics(trained, islice(batches(0), NORMALIZATION_BATCHES))
        if state.is_main_process:
            _save(trained, out)
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


def _renew_statistics(classifier: Classifier, batches: Iterable[PictureBatch]) -> None:
    """Measure batch normalization's statistics for the averaged weights.

    Those of the training belong to other weights; with EfficientNet's momentum of 0.01 they are,
    after a hundred steps, still a third of what they began with.
    """
    update_bn((batch.image for batch in batches), classifier)


def _save(classifier: Classifier, folder: Path) -> None:
    """Replace the weights of a run."""
    weights = {name: value.contiguous() for name, value in classifier.state_dict().items()}
    save_file(weights, folder / "model.safetensors.tmp")
    (folder / "model.safetensors.tmp").replace(folder / "model.safetensors")


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json``, in the main process."""
    if processes().is_main_process:
        text = json.dumps(results, indent=2, allow_nan=False) + "\n"
        (out / "results.json").write_text(text, encoding="utf-8")


def check_reads(config: NetworkConfig, shape: tuple[int, ...], *, batch_size: int) -> None:
    """Refuse pictures that a network cannot read, before a run has a folder.

    Args:
        config: The network.
        shape: Height, width and channels of the stored pictures.
        batch_size: Pictures in a batch of the training.

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


def load_network(folder: Path) -> Classifier:
    """Return the network of a run, with its averaged weights, in evaluation mode.

    Raises:
        InputError: If a file is missing, damaged, or does not fit the other one.
    """
    path, weights = folder / "config.json", folder / "model.safetensors"
    for file in (path, weights):
        if not file.is_file():
            raise InputError(f"{folder} is no run of a network: {file.name} is missing.")
    try:
        config = NetworkConfig(**json.loads(path.read_text(encoding="utf-8"))["network"])
        size = config.image_size
        if size is not None and not (isinstance(size, int) and size >= 1):
            raise ValueError(f"image_size is {size!r}")
        classifier = config.build()
        classifier.load_state_dict(load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} holds no network that fits its config: {reason}.") from error
    return classifier.eval()
