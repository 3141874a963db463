"""RoboFlamingo on Meta-World."""

from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.recipes.run import TrainingRun
from eyehand.training.loop import TrainConfig


def roboflamingo_metaworld() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=RoboFlamingoConfig(),
        training=TrainConfig(minutes=10.0),
    )
