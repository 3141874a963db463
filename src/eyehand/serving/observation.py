"""A client's observation, checked and brought into the shape that the policy reads.

What is strange but can be answered is answered; what a policy cannot mean is refused in one
sentence before the policy sees it:

- The empty sentence means that there is none: the policy acts by what it sees, as in the control
  that takes the sentence away. Any other must be one by `check_sentence`, of at most
  ``Bounds.sentence`` characters. A sentence of words that the policy never saw is answered.
- A picture of zeros, or of any other one colour, is a picture and is answered. One of another size
  is scaled.
- A state that is not finite is refused. If the policy itself returns actions that are not finite,
  none are sent, the client is told so, and the episode goes on with its next observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from eyehand.functional.sentence import check_sentence
from eyehand.types import InputError, Observation

PROMPT, STATE = "prompt", "observation/state"
"""Keys of the sentence and of proprioception, openpi's names."""
PICTURE = "observation/image"
"""Key of the picture of a policy with one camera; with several it is ``observation/NAME``."""


@dataclass(frozen=True)
class PolicyInterface:
    """What a policy takes and what it returns; sent to every client that connects."""

    name: str
    cameras: tuple[str, ...]
    image_size: int
    state_dim: int
    action_dim: int
    horizon: int
    history_stride: int
    """Actions to execute before asking again, for a policy with memory."""
    checkpoint_sha256: str
    """Hash of configuration and weights, by which an evaluation knows the policy again."""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    """Limits of the actions: numbers beyond them are clipped, and counted in the metrics."""

    @property
    def picture_keys(self) -> dict[str, str]:
        """Camera to the key of its picture."""
        if len(self.cameras) == 1:
            return {self.cameras[0]: PICTURE}
        return {camera: f"observation/{camera}" for camera in self.cameras}


@dataclass(frozen=True)
class Bounds:
    """Limits of the size of a message."""

    message_bytes: int | None = None
    """Bytes of one message; left out, what the largest pictures and the longest sentence need."""
    image_side: int = 1024
    """Pixels of a picture's longer side."""
    sentence: int = 500
    """Characters of a sentence."""

    def __post_init__(self) -> None:
        """Check that all are positive."""
        for name, most in vars(self).items():
            if most is not None and most < 1:
                flag = name.replace("_", "-")
                raise InputError(f"--bounds.{flag} must be at least 1. Got {most}.")


@dataclass(frozen=True)
class CheckedObservation:
    """One robot's observation, checked."""

    image: Mapping[str, UInt8[np.ndarray, "height width 3"]]
    state: Float32[np.ndarray, " state"]
    instruction: str


SLACK_BYTES = 16_384
"""Room in a message for names, types and shapes, and for fields that the policy does not read."""


def longest_message(interface: PolicyInterface, bounds: Bounds) -> int:
    """Return the most bytes of a message, with every picture as large as it may be."""
    return bounds.message_bytes or _message(interface, bounds, side=bounds.image_side)


def usual_message(interface: PolicyInterface, bounds: Bounds) -> int:
    """Return the most bytes of a message whose pictures have the size that the policy reads."""
    return _message(interface, bounds, side=interface.image_size)


def _message(interface: PolicyInterface, bounds: Bounds, *, side: int) -> int:
    pictures = 3 * side**2 * len(interface.cameras)
    return pictures + 8 * interface.state_dim + 4 * bounds.sentence + SLACK_BYTES


def read_observation(
    message: Mapping[str, Any], interface: PolicyInterface, bounds: Bounds
) -> CheckedObservation:
    """Return the observation in a message; pictures of another size are scaled with a box filter.

    Raises:
        InputError: If something is missing, of a wrong type or shape, too large, or not finite.
    """
    instruction = _field(message, PROMPT)
    if not isinstance(instruction, str) or instruction:
        check_sentence(instruction, repr(PROMPT), longest=bounds.sentence)
    state = _field(message, STATE)
    if not isinstance(state, np.ndarray) or state.shape != (interface.state_dim,):
        raise InputError(f"{STATE!r} must be {interface.state_dim} numbers. Got {_shown(state)}.")
    if state.dtype.kind not in "fiu" or not np.isfinite(state).all():
        raise InputError(f"{STATE!r} must be finite numbers. Got {state!s:.200}.")
    image = {
        camera: _picture(key, _field(message, key), interface.image_size, bounds.image_side)
        for camera, key in interface.picture_keys.items()
    }
    return CheckedObservation(image, state.astype(np.float32), instruction)


def stack(seen: list[CheckedObservation], env_ids: list[int]) -> Observation:
    """Return several robots' observations as one batch."""
    return Observation(
        image={
            camera: torch.from_numpy(np.stack([one.image[camera] for one in seen]))
            for camera in seen[0].image
        },
        state=torch.from_numpy(np.stack([one.state for one in seen])),
        instruction=[one.instruction for one in seen],
        env_ids=env_ids,
    )


def _field(message: Mapping[str, Any], key: str) -> Any:
    if key not in message:
        raise InputError(f"the observation lacks {key!r}; it has {sorted(message)!s:.200}.")
    return message[key]


def _picture(key: str, picture: Any, size: int, most: int) -> UInt8[np.ndarray, "size size 3"]:
    if (
        not isinstance(picture, np.ndarray)
        or picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
        or not 1 <= min(picture.shape) <= max(picture.shape) <= most
    ):
        raise InputError(
            f"{key!r} must be a uint8 picture (height, width, 3) of at most {most} pixels a side. "
            f"Got {_shown(picture)}."
        )
    if picture.shape[:2] == (size, size):
        return picture
    scaled = Image.fromarray(picture).resize((size, size), Image.Resampling.BOX)
    return np.asarray(scaled)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return f"{value!r:.60}"
