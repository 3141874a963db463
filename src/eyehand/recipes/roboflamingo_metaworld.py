"""RoboFlamingo on Meta-World demonstrations: a frozen language model that learns to see and act.

Run:
    eyehand train roboflamingo-metaworld --data outputs/demo/data --out outputs/roboflamingo

What it reached, on which seeds and in how long, is in docs/log.md.
"""

from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def roboflamingo_metaworld() -> TrainingRun:
    """Return the run."""
    training = TrainConfig(minutes=30.0, learning_rate=5e-4, weight_decay=0.1)
    return TrainingRun(policy=RoboFlamingoConfig(), training=training)
