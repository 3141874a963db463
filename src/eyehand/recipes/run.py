"""One training run: a policy, how its batches are cut, and how it learns, brought together."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState

from eyehand.data.statistics import load_statistics
from eyehand.data.store import open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.registry import build_policy, describe_policy
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.training.loop import TrainConfig, TrainResult, train


@dataclass(frozen=True)
class TrainingRun:
    """Everything that decides a training run, except the data and the folder it goes to."""

    policy: BCZConfig | RoboFlamingoConfig
    """The policy and its sizes; cameras and dimensions are read off the data."""
    training: TrainConfig
    """How long and how the policy learns."""
    batch_size: int = 128
    """Windows in a batch, over all processes together."""
    random_shift: int = 4
    """Largest shift of the pictures, pixels; 0 switches it off."""
    color_jitter: float = 0.1
    """Strength of the change of contrast and brightness, up to 0.5; 0 switches it off."""


def run_training(run: TrainingRun, data: Path, out: Path, *, resume: bool) -> TrainResult:
    """Train ``run`` on the data set ``data`` and keep checkpoints in ``out``.

    Raises:
        InputError: If the data set is broken or does not fit the run, or ``out`` holds another run.
    """
    store = open_store(data, image_size=run.policy.image_size)
    policy_config = replace(
        run.policy,
        cameras=tuple(store.image),
        state_dim=store.state.shape[-1],
        action_dim=store.action.shape[-1],
    )
    torch.manual_seed(run.training.seed)
    policy = build_policy(policy_config, statistics=load_statistics(data))
    processes = PartialState()
    windows = WindowConfig(
        batch_size=run.batch_size,
        random_shift=run.random_shift,
        color_jitter=run.color_jitter,
        seed=run.training.seed,
        history=policy_config.history,
        history_stride=policy_config.history_stride,
        horizon=policy_config.horizon,
    )
    loader = WindowLoader(
        store,
        windows,
        process_index=processes.process_index,
        process_count=processes.num_processes,
    )
    description = {"policy": describe_policy(policy_config), "windows": asdict(windows)}
    return train(
        policy,
        loader.batches,
        config=run.training,
        folder=out,
        description=description,
        resume=resume,
    )
