import math
from typing import Any

import pytest

from eyehand.training.config import TrainConfig
from eyehand.types import InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--steps or for --minutes, .* got neither"),
        ({"steps": 1, "minutes": 1.0}, "--steps or for --minutes, .* got both"),
        ({"steps": 0}, "--steps must be above 0; got 0"),
        ({"steps": 1, "threads": 0}, "--threads must be above 0; got 0"),
        ({"steps": 1, "accumulate": 0}, "--training.accumulate must be above 0; got 0"),
        (
            {"steps": 1, "gradient_clip": math.nan},
            "--training.gradient-clip must be above 0; got nan",
        ),
        ({"steps": 1, "warmup": 1.0}, r"--training.warmup must be in \[0, 1\); got 1.0"),
        (
            {"steps": 1, "weight_decay": -0.1},
            "--training.weight-decay must be at least 0; got -0.1",
        ),
        ({"steps": 1, "seed": -1}, "--training.seed must be at least 0; got -1"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)
