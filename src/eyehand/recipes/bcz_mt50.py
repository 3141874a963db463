"""BC-Z on all fifty tasks of Meta-World: the training part of `eyehand reproduce mt50`.

Run:
    eyehand train bcz-mt50 --data outputs/mt50/demonstrations --out outputs/bcz-mt50

What it reached, on which seeds and in how long: docs/benchmarks/mt50.md.
"""

from eyehand.policies.bcz import BCZConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def bcz_mt50() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=BCZConfig(cameras=("work_area",)),
        training=TrainConfig(minutes=60.0),
        random_shift=2,  # pixels: what is to be seized may be three wide
        color_jitter=0.3,  # lamps at 60 % darken a picture by less than that
    )
