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
        ({"steps": 0}, "--steps must be above 0 .*; got 0"),
        ({"steps": 1, "threads": 0}, "--threads must be above 0 .*; got 0"),
        ({"steps": 1, "accumulate": 0}, "--training.accumulate must be above 0 .*; got 0"),
        (
            {"steps": 1, "gradient_clip": math.nan},
            "--training.gradient-clip must be above 0 .*; got nan",
        ),
        ({"steps": 1, "warmup": 1.0}, r"--training.warmup must be in \[0, 1\); got 1.0"),
        (
            {"steps": 1, "weight_decay": -0.1},
            "--training.weight-decay must be at least 0 .*; got -0.1",
        ),
        ({"steps": 1, "seed": -1}, "--training.seed must be at least 0 .*; got -1"),
        (
            {"steps": 1, "seed": 10**30},
            r"--training.seed .* at most 18,446,744,.*; got 1000",
        ),
        ({"steps": 10**30}, r"--steps .* at most 1,000,000,000,000; got 1000000"),
        ({"minutes": -1.0}, "--minutes must be above 0 .*; got -1.0"),
        ({"minutes": math.nan}, "--minutes must be above 0 .*; got nan"),
        ({"minutes": 1e308}, r"--minutes .* at most .*; got 1e\+308"),
        ({"steps": 1, "threads": 10**9}, "--threads .* at most 1,024; got 1000000000"),
        ({"steps": 1, "learning_rate": math.inf}, "--training.learning-rate .*; got inf"),
        ({"steps": 1, "ema_decay": math.nan}, r"--training.ema-decay must be in \[0, 1\); got nan"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)
