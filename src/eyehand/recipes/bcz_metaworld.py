"""BCZ on Meta-World."""

from eyehand.data.windows import WindowConfig
from eyehand.policies.bcz import BCZConfig
from eyehand.recipes.run import TrainingRun
from eyehand.training.loop import TrainConfig


def bcz_metaworld() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=BCZConfig(),
        windows=WindowConfig(batch_size=128),
        training=TrainConfig(minutes=10.0),
    )
