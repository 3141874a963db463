"""An episode made ready to be written: its films encoded, its pictures described.

A recording encodes in the processes that simulate, so that only small results travel to the writer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eyehand.data.columns import ACTION_MASK, LANDMARKS
from eyehand.data.statistics import describe_pictures
from eyehand.data.video import encode_video
from eyehand.types import Episode, InputError


@dataclass(frozen=True, kw_only=True)
class EncodedEpisode(Episode):
    """An episode whose pictures are videos already: what a worker process hands over.

    It has no ``image``, and its landmarks and its action mask stand among its ``columns``.
    """

    film: Mapping[str, bytes]
    """One mp4 file per camera."""
    shape: Mapping[str, tuple[int, int]]
    """Height and width per camera, pixels."""
    image_statistics: Mapping[str, Mapping[str, Any]]
    """LeRobot's statistics of the pictures, per camera."""


def encode_episode(episode: Episode, *, fps: int) -> EncodedEpisode:
    """Check an episode and encode its pictures.

    Raises:
        InputError: If the episode is empty, its parts differ in length, or a number is not finite.
    """
    name = f"the episode of task {episode.task!r} with seed {episode.seed}"
    fields = {LANDMARKS: episode.landmarks, ACTION_MASK: episode.action_mask}
    columns = {**episode.columns, **{k: v for k, v in fields.items() if v is not None}}
    numbers = {"state": episode.state, "action": episode.action, **columns}
    lengths = {key: len(values) for key, values in (numbers | dict(episode.image)).items()}
    if len(episode) == 0 or len(set(lengths.values())) > 1:
        raise InputError(f"{name} must have one length of at least 1 everywhere. Got {lengths}.")
    for feature, values in numbers.items():
        flat = values.reshape(len(episode), -1)
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            frame = int(np.argmin(finite))
            raise InputError(
                f"{name} has the {feature} {flat[frame].tolist()} at frame {frame}: every number "
                "must be finite."
            )
    if episode.action.shape[1] and not episode.instruction.strip():
        raise InputError(f"{name} has no instruction.")
    plain = replace(episode, image={}, landmarks=None, action_mask=None, columns=columns)
    return EncodedEpisode(
        **vars(plain),
        film={camera: encode_video(film, fps=fps) for camera, film in episode.image.items()},
        shape={camera: film.shape[1:3] for camera, film in episode.image.items()},
        image_statistics={camera: describe_pictures(f) for camera, f in episode.image.items()},
    )
