"""One training run: a policy, the batches it is trained on, and how it learns."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from eyehand.available_memory import available_memory, check_memory
from eyehand.data.store import join_stores, open_store
from eyehand.data.windows import BATCHES_AHEAD, WindowConfig, WindowLoader, sample_chunks
from eyehand.models.allowance import Allowance
from eyehand.models.checkpoint import read_config
from eyehand.policies.contract import PolicyConfig
from eyehand.policies.registry import build_policy, describe_policy, load_policy, restore_config
from eyehand.training.checkpoint import check_out
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.earlier import defaults_of
from eyehand.training.loop import train
from eyehand.training.processes import processes
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import InputError

COPIES = 5
"""Of the weights while they are trained: themselves, gradients, averages, AdamW's two moments."""
FITTED_CHUNKS = 20_000
"""Chunks for the parts of a policy that are fitted to data before training, not by gradients."""


@dataclass(frozen=True)
class TrainingRun:
    """Everything that decides a training run, except the data and the folder it goes to."""

    policy: PolicyConfig
    """The policy and its sizes; cameras and dimensions are read from the data."""
    training: TrainConfig
    """How long and how the policy learns."""
    batch_size: int = 128
    """Windows in a batch, over all processes together."""
    random_shift: int = 4
    """Largest shift of the pictures, pixels; 0 switches it off."""
    color_jitter: float = 0.1
    """Strength of the change of contrast and brightness, up to 0.5; 0 switches it off."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        WindowConfig(
            batch_size=self.batch_size,
            random_shift=self.random_shift,
            color_jitter=self.color_jitter,
        )


def check_batches(run: TrainingRun) -> None:
    """Raise an `InputError` if the pictures of the batches ahead do not fit into memory."""
    policy, batches = run.policy, BATCHES_AHEAD + 1
    frames = batches * run.batch_size * policy.history / processes().num_processes
    check_memory(
        frames * 3 * policy.image_size**2,
        f"--batch-size {run.batch_size} with {policy.history} frames a window",
    )


def run_training(
    run: TrainingRun,
    data: Sequence[Path],
    out: Path,
    *,
    resume: bool,
    initial: Path | None = None,
    watch: Callable[[float, float], None] | None = None,
) -> TrainResult:
    """Train ``run`` on data sets and keep checkpoints in ``out``.

    Args:
        run: The run.
        data: Folders of data sets with the same features; their frames are shuffled together.
        out: Folder of the run.
        resume: Go on from the last checkpoint in ``out``.
        initial: A checkpoint of the same policy whose weights, and statistics, the run begins with.
        watch: Called with the share of the run that is done and the loss; see `train`.

    Raises:
        InputError: If a data set is broken or does not fit the run, ``initial`` is of another
            policy, or ``out`` holds another run, or something that is no run.
    """
    check_batches(run)
    check_out(out, resume=resume)  # before data is decoded, which can take minutes
    size, needed = run.policy.image_size, ("state", "action")
    store = join_stores([open_store(one, image_size=size, needed=needed) for one in data])
    policy_config = run.policy.for_data(
        cameras=tuple(store.image),
        state_dim=store.state.shape[-1],
        action_dim=store.action.shape[-1],
        landmarks=store.columns["landmarks"].shape[1] if "landmarks" in store.columns else 0,
    )
    torch.manual_seed(run.training.seed)
    numbers = f"the policy of the run, with {_changed(policy_config)},"
    with Allowance(available_memory() // COPIES, numbers):
        policy = build_policy(policy_config, statistics=store.statistics)
    chunks = sample_chunks(store, horizon=policy_config.horizon, count=FITTED_CHUNKS)
    policy.fit(torch.from_numpy(chunks))
    if initial is not None:
        begun = load_policy(initial)
        if begun.config != policy_config:
            raise InputError(
                f"{initial} is a policy with {describe_policy(begun.config)}; the run trains one "
                f"with {describe_policy(policy_config)}."
            )
        policy.load_state_dict(begun.state_dict())
    state = processes()
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
        process_index=state.process_index,
        process_count=state.num_processes,
    )
    description = {
        "policy": _described(policy_config, out),
        "windows": asdict(windows),
        "initial": str(initial) if initial else None,
    }
    return train(
        SupervisedUpdate(policy, run.training),
        loader.batches,
        config=run.training,
        folder=out,
        description=description,
        resume=resume,
        watch=watch,
        defaults={"policy": defaults_of(policy_config), "windows": defaults_of(windows)},
    )


def _changed(config: PolicyConfig) -> str:
    """Return the fields of a config that are not at their default, in words."""
    usual = type(config)()
    return (
        ", ".join(
            f"{field.name} {getattr(config, field.name)}"
            for field in fields(config)
            if getattr(config, field.name) != getattr(usual, field.name)
        )
        or "all sizes at their default"
    )


def _described(config: PolicyConfig, folder: Path) -> dict[str, Any]:
    """Return the policy as the run in ``folder`` says it, if that is the same one.

    A run that an older version began lacks the fields that have come since.
    """
    # What is broken there is said where the run is opened.
    with suppress(LookupError, TypeError, InputError):
        begun = read_config(folder)["policy"]
        if restore_config(begun) == config:
            return dict(begun)
    return describe_policy(config)
