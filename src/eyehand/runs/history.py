"""A memory for a trained policy of single frames, without training its eye again.

The features of all frames are computed once; a head with history learns from them in windows. It
gets a shortcut (``RegressionConfig.shortcut``) that begins as the policy's own head, and adds
nothing at first: so the new policy begins as the one it is made from, and what it learns is a
correction. An epoch takes seconds where one with pictures takes minutes.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32
from rich.console import Console
from rich.progress import track
from torch import nn

from eyehand.available_memory import check_memory
from eyehand.data.store import FrameStore, join_stores, open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.policies.contract import evaluation_mode
from eyehand.policies.frame_policy import FEATURE, FramePolicy
from eyehand.policies.heads.gpt import GPTHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.mlp_history import MLPHistoryHeadConfig
from eyehand.policies.heads.regression import RegressionHead
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import build_policy, describe_policy, load_policy
from eyehand.training.checkpoint import check_out
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.earlier import defaults_of
from eyehand.training.loop import train
from eyehand.training.processes import processes
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import InputError

RegressionHeadConfig = MLPHeadConfig | MLPHistoryHeadConfig | LSTMHeadConfig | GPTHeadConfig
"""A head that can have a shortcut."""
FRAMES_AT_ONCE = 256
"""Frames whose features are computed together."""


def train_history(
    checkpoint: Path,
    data: Sequence[Path],
    out: Path,
    *,
    head: RegressionHeadConfig,
    history: int,
    history_stride: int,
    training: TrainConfig,
    batch_size: int = 512,
) -> TrainResult:
    """Train a head with history on the features of a policy; keep whole checkpoints in ``out``.

    A run in ``out`` that was interrupted goes on.

    Args:
        checkpoint: The policy of single frames, with the head `mlp`.
        data: Folders of data sets.
        out: Folder of the run.
        head: The new head, without its shortcut.
        history: Frames in a window.
        history_stride: Frames from one frame of a window to the next: the actions that are executed
            of each plan.
        training: How long and how the head learns.
        batch_size: Windows in a batch.

    Raises:
        InputError: If the policy has another head or a history, or ``out`` holds another run.
    """
    check_out(out, resume=True)
    begun = load_policy(checkpoint)
    if not isinstance(begun, FramePolicy) or not isinstance(begun.config.head, MLPHeadConfig):
        raise InputError(f"{checkpoint} must be a policy with the head 'mlp'.")
    if begun.config.history > 1:
        raise InputError(
            f"{checkpoint} must be a policy of single frames; its windows have "
            f"{begun.config.history}."
        )
    needed = ("state", "action")
    size = begun.config.image_size
    store = join_stores([open_store(one, image_size=size, needed=needed) for one in data])
    torch.manual_seed(training.seed)
    policy = with_history(begun, head, history=history, history_stride=history_stride)
    feature = features_of(begun, store)
    windows = WindowConfig(
        batch_size=batch_size,
        random_shift=0,
        color_jitter=0.0,
        seed=training.seed,
        history=history,
        history_stride=history_stride,
        horizon=begun.config.horizon,
    )
    loader = WindowLoader(
        replace(store, image={}, columns={**store.columns, FEATURE: feature}),
        windows,
        extra={FEATURE: range(-history_stride * (history - 1), 1, history_stride)},
    )
    return train(
        SupervisedUpdate(policy, training),
        loader.batches,
        config=training,
        folder=out,
        description={
            "policy": describe_policy(policy.config),
            "windows": asdict(windows),
            "initial": str(checkpoint),
        },
        resume=True,
        defaults={"policy": defaults_of(policy.config), "windows": defaults_of(windows)},
    )


def with_history(
    begun: FramePolicy, head: RegressionHeadConfig, *, history: int, history_stride: int
) -> FramePolicy:
    """Return a policy with another head that acts as ``begun`` does, until the head has learnt."""
    own = begun.config.head
    assert isinstance(own, MLPHeadConfig)
    config = replace(
        begun.config,
        head=replace(head, shortcut=own.dims),
        history=history,
        history_stride=history_stride,
    )
    sizes = {"state_dim": config.state_dim, "action_dim": config.action_dim}
    policy = cast("FramePolicy", build_policy(config, statistics=blank_statistics(**sizes)))
    weights = {
        name.replace("head.", "head.shortcut.", 1) if name.startswith("head.") else name: weight
        for name, weight in begun.state_dict().items()
    }
    kept = {name: weight for name, weight in policy.state_dict().items() if name not in weights}
    policy.load_state_dict(weights | kept)
    for weight in cast("RegressionHead", policy.head).to_action.parameters():
        nn.init.zeros_(weight)
    return policy


@torch.inference_mode()
def features_of(policy: FramePolicy, store: FrameStore) -> Float32[np.ndarray, "frame dim"]:
    """Return the feature of every frame, told its episode's sentence, with a progress bar."""
    device = processes().device
    policy = policy.to(device)
    found: Float32[np.ndarray, "frame dim"] | None = None
    numbers = np.arange(len(store))
    pieces = [numbers[at : at + FRAMES_AT_ONCE] for at in range(0, len(store), FRAMES_AT_ONCE)]
    with evaluation_mode(policy):
        for piece in track(pieces, description="features", console=Console(stderr=True)):
            image = {
                name: torch.from_numpy(np.stack([pictures[n] for n in piece.tolist()])).to(device)
                for name, pictures in store.image.items()
            }
            state = torch.from_numpy(store.state[piece]).to(device)
            told = [store.sentences[number] for number in store.sentence[piece]]
            feature, _ = policy.encode(image, state, told, apart=False)
            if found is None:
                check_memory(4 * len(store) * feature.shape[1], "the features of all frames")
                found = np.empty((len(store), feature.shape[1]), np.float32)
            found[piece] = feature.float().cpu().numpy()
    assert found is not None
    return found
