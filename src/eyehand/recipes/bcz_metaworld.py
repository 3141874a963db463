"""BCZ on Meta-World."""

from eyehand.policies.bcz import BCZConfig
from eyehand.recipes.run import TrainingRun
from eyehand.training.loop import TrainConfig


def bcz_metaworld() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=BCZConfig(),
        training=TrainConfig(minutes=10.0),
    )
