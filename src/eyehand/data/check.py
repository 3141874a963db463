"""Checks that a folder keeps the contract of a data set: what training relies on is so."""

from pathlib import Path

import numpy as np

from eyehand.data.columns import feature_name
from eyehand.data.layout import STATISTICS_PATH
from eyehand.data.lerobot import Dataset
from eyehand.data.statistics import describe, load_statistics
from eyehand.types import InputError


def check_dataset(folder: Path) -> None:
    """Read all of a data set, every picture included, and check that its parts agree.

    Checked: every file is whole; episodes follow one another without a gap; times grow by one
    frame; all numbers are finite; every sentence is used, and where there are actions none is
    empty; every camera has a picture for every frame, and not always the same; the statistics are
    those of the frames.

    Args:
        folder: The data set's folder.

    Raises:
        InputError: If something is not so; the sentence names the file or the episode.
    """
    dataset = Dataset(folder)
    _check_times(dataset)
    for name, values in dataset.frames.columns.items():
        dataset.check_finite(feature_name(name), values.reshape(len(dataset), -1))
    _check_sentences(dataset)
    _check_statistics(dataset)
    for camera in dataset.cameras:
        _check_pictures(dataset, camera)


def _check_times(dataset: Dataset) -> None:
    for row in dataset.episodes:
        found = dataset.frames.timestamp[row.start : row.start + row.length]
        if np.abs(found - np.arange(row.length) / dataset.fps).max() > 0.5 / dataset.fps:
            raise InputError(
                f"the timestamps of episode {row.index} in {dataset.folder} do not grow by "
                f"1/{dataset.fps} s a frame from 0 on; the data set's fps or the file is wrong."
            )


def _check_sentences(dataset: Dataset) -> None:
    used = set(dataset.frames.sentence.tolist())
    for number, sentence in enumerate(dataset.sentences):
        if dataset.action_dim and not sentence.strip():
            raise InputError(f"sentence {number} of {dataset.folder} is empty.")
        if number not in used:
            raise InputError(f"no frame of {dataset.folder} has the sentence {sentence!r}.")


def _check_statistics(dataset: Dataset) -> None:
    if (dataset.folder / STATISTICS_PATH).exists():
        dataset.small_file(STATISTICS_PATH)
    loaded = load_statistics(dataset)
    for name, statistics in loaded.items():
        values = getattr(dataset.frames, name)
        expected = describe(values)
        scale = np.maximum(np.ptp(values, axis=0), 1e-6)
        stored = {
            "mean": statistics.mean,
            "std": statistics.std,
            "min": statistics.minimum,
            "max": statistics.maximum,
        }
        for key, found in stored.items():
            if (np.abs(found - np.array(expected[key])) / scale > 1e-3).any():
                raise InputError(
                    f"the {key} of {name!r} in {dataset.folder / STATISTICS_PATH} is "
                    f"{found.tolist()}; the frames have {expected[key]}. Delete the file, and the "
                    "statistics are computed anew."
                )


def _check_pictures(dataset: Dataset, camera: str) -> None:
    changed, count, previous = False, 0, None
    for _, picture in dataset.images(camera):
        changed = changed or (previous is not None and not np.array_equal(picture, previous))
        previous = picture
        count += 1
    if not changed and count > 1:
        raise InputError(f"camera {camera!r} of {dataset.folder} shows the same picture always.")
