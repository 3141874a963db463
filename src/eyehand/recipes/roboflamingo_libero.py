"""RoboFlamingo on LIBERO: two cameras, seven numbers an action.

Run:
    eyehand train roboflamingo-libero --data outputs/libero/demonstrations --out outputs/flamingo

It has not been measured yet.
"""

from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def roboflamingo_libero() -> TrainingRun:
    """Return the run."""
    return TrainingRun(
        policy=RoboFlamingoConfig(cameras=("agentview", "eye_in_hand")),
        training=TrainConfig(minutes=120.0, learning_rate=5e-4, weight_decay=0.1),
        batch_size=128,
        random_shift=2,
        color_jitter=0.3,
    )
