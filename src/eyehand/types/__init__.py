"""What passes between the rooms; anything of ours may import it, and it imports nothing of ours."""

from eyehand.types.errors import InputError
from eyehand.types.picture import PictureBatch
from eyehand.types.robot import (
    ActionChunk,
    Batch,
    Episode,
    Observation,
    Policy,
    Statistics,
)

__all__ = [
    "ActionChunk",
    "Batch",
    "Episode",
    "InputError",
    "Observation",
    "PictureBatch",
    "Policy",
    "Statistics",
]
