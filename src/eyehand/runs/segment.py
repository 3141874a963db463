"""Train a network to say what every pixel of a robot scene shows, and measure and draw it.

The masks are the simulator's own, so any number of labelled pictures costs only the drawing.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track

from eyehand.available_memory import check_memory
from eyehand.data.pictures import LabelledPictures
from eyehand.envs.masks import scene_masks
from eyehand.envs.suite import find_suite
from eyehand.files import replacing
from eyehand.functional.segmentation import segmentation_scores
from eyehand.models.registry import find_network
from eyehand.runs.picture_run import (
    NetworkConfig,
    PictureTraining,
    check_reads,
    train_network,
    write_picture_results,
)
from eyehand.training.checkpoint import check_out
from eyehand.training.config import TrainConfig
from eyehand.training.processes import processes
from eyehand.types import LARGEST_SIDE, InputError, check_ranges

FIRST_TRAINING, FIRST_TEST = 0, 1_000_000
"""Seeds of the first pictures: training and test have different start states."""
COLOURS = np.array(
    [[40, 40, 46], [150, 112, 66], [200, 62, 62], [246, 200, 66], [62, 158, 246]], np.uint8
)
"""Of the mask classes, in a drawing."""
DRAWN = 6
"""Test pictures in the drawing."""


@dataclass(frozen=True)
class SegmentConfig(PictureTraining):
    """The scenes whose pixels a network learns to classify, and how it learns."""

    training: TrainConfig = field(
        default_factory=lambda: TrainConfig(minutes=5.0, learning_rate=3e-4)
    )
    """How long, and how; at 1e-3 VGG-16, the eye of FCN, stayed near chance on Fashion-MNIST."""
    batch_size: int = 16
    """Pictures in a batch."""
    tasks: str = "mt10"
    """Separated by commas: task names, groups or sets of tasks such as mt10, or all."""
    suite: str = "metaworld"
    """The benchmark."""
    camera: str = "work_area"
    """Camera of the pictures."""
    image_size: int = 96
    """Height and width of the pictures, pixels."""
    pictures: int = 200
    """Training pictures of every task."""
    test_pictures: int = 20
    """Test pictures of every task."""

    def __post_init__(self) -> None:
        """Raise an `InputError` if a number is out of its range."""
        super().__post_init__()
        check_ranges(
            self,
            image_size=(1, LARGEST_SIDE),
            pictures=(1, FIRST_TEST),
            test_pictures=(1, FIRST_TEST),
        )


def segment(name: str, config: SegmentConfig, out: Path, *, resume: bool) -> dict[str, Any]:
    """Draw pictures, train, measure, write ``results.json``, which is returned, and ``masks.png``.

    Raises:
        InputError: If a name is unknown, no picture can be drawn, the network cannot read pictures
            of this size, or ``out`` holds another run.
    """
    find_network(name, kind="dense network")
    suite = find_suite(config.suite)
    tasks = suite.select_tasks(config.tasks)
    suite.check_cameras((config.camera,))
    bytes_of_one = config.image_size**2 * 4  # three colours and a class
    check_memory(  # as they are drawn one by one, and as they are stacked
        2 * len(tasks) * config.pictures * bytes_of_one, f"--pictures {config.pictures} of a task"
    )
    check_memory(5 * config.batch_size * bytes_of_one, f"--batch-size {config.batch_size}")
    network = NetworkConfig(name=name, classes=len(suite.masks), channels=3, image_size=None)
    # Checked before the pictures are drawn, which takes minutes.
    check_reads(network, (config.image_size, config.image_size, 3), batch_size=config.batch_size)
    check_out(out, resume=resume)
    out.mkdir(parents=True, exist_ok=True)
    with processes().main_process_first():  # the main process draws, and the others read its file
        train = _draw(config, tasks, out / "training.npz", FIRST_TRAINING, config.pictures)
        test = _draw(config, tasks, out / "test.npz", FIRST_TEST, config.test_pictures)
    data = {"tasks": list(tasks), "camera": config.camera, "image_size": config.image_size}
    classifier, confusion, results = train_network(
        network, train, test, config, out, data=data, resume=resume
    )
    counts = confusion.double()
    iou = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())
    results |= {
        **segmentation_scores(confusion)._asdict(),
        # A class without a pixel, in label and answer, has no IoU: 0 / 0.
        "iou": {
            name: None if math.isnan(value) else value
            for name, value in zip(suite.masks, iou.tolist(), strict=True)
        },
        "confusion": confusion.tolist(),
        "seeds": [FIRST_TEST, FIRST_TEST + config.test_pictures - 1],
    }
    write_picture_results(out, results)
    shown = np.linspace(0, len(test) - 1, DRAWN).astype(int)
    with torch.inference_mode():
        found = classifier(torch.from_numpy(test.image[shown]))
    assert isinstance(found, torch.Tensor)  # only classifiers of whole pictures have auxiliary ones
    _picture(test.image[shown], test.label[shown], found.argmax(dim=1).numpy()).save(
        out / "masks.png"
    )
    return results


def _draw(
    config: SegmentConfig, tasks: Sequence[str], file: Path, first: int, count: int
) -> LabelledPictures:
    """Return pictures and masks, from the file if it holds those that are asked for."""
    identity = json.dumps([list(tasks), config.camera, config.image_size, first, count])
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
            found, image, label = str(held["identity"]), held["image"], held["label"]
    except FileNotFoundError:
        pass  # no file yet
    except Exception as error:  # whatever NumPy and the decompression raise
        raise InputError(
            f"{file} is damaged, or not eyehand's ({error}): remove it, or choose another folder."
        ) from error
    else:
        if found != identity:
            raise InputError(f"{file} has pictures of another run: choose another folder.")
        return LabelledPictures(image, label.astype(np.int64), find_suite(config.suite).masks)
    scenes = scene_masks(
        find_suite(config.suite),
        tasks,
        seeds=range(first, first + count),
        image_size=config.image_size,
        camera=config.camera,
    )
    drawn = list(
        track(
            scenes,
            total=len(tasks) * count,
            description=f"drawing {file.stem} pictures",
            console=Console(stderr=True),
        )
    )
    image, label = (np.stack(parts) for parts in zip(*drawn, strict=True))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, image=image, label=label, identity=np.array(identity))
    return LabelledPictures(image, label.astype(np.int64), find_suite(config.suite).masks)


def _picture(
    image: UInt8[np.ndarray, "picture height width 3"],
    label: Integer[np.ndarray, "picture height width"],
    answer: Integer[np.ndarray, "picture height width"],
) -> Image.Image:
    """Draw rows of a picture, its mask, and the network's answer."""
    rows = np.concatenate([image, COLOURS[label], COLOURS[answer]], axis=2)
    drawing = Image.fromarray(np.concatenate(list(rows)))
    return drawing.resize((2 * drawing.width, 2 * drawing.height), Image.Resampling.NEAREST)
