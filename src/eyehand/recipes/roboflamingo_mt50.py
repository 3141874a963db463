"""RoboFlamingo on all fifty tasks of Meta-World: for `eyehand reproduce mt50-roboflamingo`.

Run:
    eyehand train roboflamingo-mt50 --data outputs/mt50/demonstrations --out outputs/roboflamingo

What it reached, on which seeds and in how long: docs/benchmarks/mt50.md and docs/log.md.
"""

from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def roboflamingo_mt50() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=RoboFlamingoConfig(cameras=("work_area",)),
        training=TrainConfig(minutes=60.0, learning_rate=5e-4, weight_decay=0.1),
        batch_size=128,
        random_shift=2,
        color_jitter=0.3,
    )
