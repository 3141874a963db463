"""BC-Z on Meta-World demonstrations: the simple, fast baseline, and what the demo trains.

Run:
    eyehand train bcz-metaworld --data outputs/demo/data --out outputs/bcz

What it reached, on which seeds and in how long, is in docs/log.md.
"""

from eyehand.policies.bcz import BCZConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def bcz_metaworld() -> TrainingRun:
    """Return the run."""
    return TrainingRun(policy=BCZConfig(), training=TrainConfig(minutes=10.0))
