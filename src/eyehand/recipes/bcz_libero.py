"""BC-Z on LIBERO: two cameras, seven numbers an action. The training of `eyehand reproduce libero`.

Run:
    eyehand train bcz-libero --data outputs/libero/demonstrations --out outputs/bcz-libero

It has not been measured yet.
"""

from eyehand.policies.bcz import BCZConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def bcz_libero() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=BCZConfig(cameras=("agentview", "eye_in_hand")),
        training=TrainConfig(minutes=120.0),
        random_shift=2,
        color_jitter=0.3,
    )
