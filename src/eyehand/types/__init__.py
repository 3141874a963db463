"""What passes between the rooms; anything of ours may import it, and it imports nothing of ours."""

from eyehand.types.environments import Environments, EnvironmentStep
from eyehand.types.errors import InputError
from eyehand.types.parameters import ParameterGroup
from eyehand.types.picture import PictureBatch
from eyehand.types.ranges import LARGEST_SEED, LARGEST_SIDE, check_ranges, shortened
from eyehand.types.robot import (
    ActionChunk,
    Actor,
    Batch,
    Episode,
    Observation,
    Statistics,
    Trainable,
)

__all__ = [
    "LARGEST_SEED",
    "LARGEST_SIDE",
    "ActionChunk",
    "Actor",
    "Batch",
    "EnvironmentStep",
    "Environments",
    "Episode",
    "InputError",
    "Observation",
    "ParameterGroup",
    "PictureBatch",
    "Statistics",
    "Trainable",
    "check_ranges",
    "shortened",
]
