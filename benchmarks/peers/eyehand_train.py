"""Train eyehand's BC-Z by its recipe for a wall time, or measure how fast it is.

The counterpart of lerobot_train.py, with the same options and the same JSON:

    python -m benchmarks.peers.eyehand_train train bcz --data DIR --tasks reach,push \
        --minutes 30 --cores 2 --out DIR
    python -m benchmarks.peers.eyehand_train speed bcz --data DIR --tasks reach,push --cores 2 \
        --seconds 10 --out FILE

``bcz`` learns from what LeRobot's policies learn from: pictures, states, actions, and beside them
the sentences. ``bcz-landmarks`` is the recipe as it stands, which also learns to point at the
landmarks that the simulator knows; no policy ever reads them.
"""

import argparse
import resource
from collections.abc import Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.peers.command import run_command
from benchmarks.peers.timing import seconds_of
from eyehand.data.statistics import describe, to_statistics
from eyehand.data.store import FrameStore, Pictures, open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.files import software_versions
from eyehand.policies.contract import PolicyModule
from eyehand.policies.registry import build_policy, describe_policy
from eyehand.recipes.bcz_metaworld import bcz_metaworld
from eyehand.runs.train import TrainingRun
from eyehand.training.loop import train as train_loop
from eyehand.training.optimizer import build_optimizer
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import Observation


def choose_episodes(store: FrameStore, tasks: Sequence[str], *, landmarks: bool) -> FrameStore:
    """Return the episodes of some tasks, with statistics of their own.

    Args:
        store: All episodes.
        tasks: Names of the tasks.
        landmarks: Whether the landmarks, as a target of training, are kept.
    """
    chosen = [place for place, task in enumerate(store.episode_task) if task in tasks]
    spans = [
        slice(start, start + length)
        for start, length in zip(store.episode_start, store.episode_length, strict=True)
    ]
    frames = np.concatenate([np.arange(len(store))[spans[place]] for place in chosen])
    state, action = store.state[frames], store.action[frames]
    lengths = store.episode_length[chosen]
    return FrameStore(
        image={
            name: Pictures([pictures.parts[0][spans[place]] for place in chosen])
            for name, pictures in store.image.items()
        },
        state=state,
        action=action,
        sentence=store.sentence[frames],
        columns={
            name: values[frames]
            for name, values in store.columns.items()
            if landmarks or name != "landmarks"
        },
        sentences=store.sentences,
        episode_start=np.cumsum([0, *lengths])[:-1],
        episode_length=lengths,
        episode_task=tuple(store.episode_task[place] for place in chosen),
        statistics={
            name: to_statistics(describe(values))
            for name, values in (("state", state), ("action", action))
        },
    )


def make_learner(
    options: argparse.Namespace, run: TrainingRun
) -> tuple[PolicyModule, WindowLoader, WindowConfig]:
    """Return the recipe's policy for the chosen episodes, and the loader of their windows."""
    store = choose_episodes(
        open_store(options.data, image_size=run.policy.image_size),
        options.tasks.split(","),
        landmarks=options.name == "bcz-landmarks",
    )
    config = replace(
        run.policy,
        cameras=tuple(store.image),
        state_dim=store.state.shape[1],
        action_dim=store.action.shape[1],
        landmarks=store.columns["landmarks"].shape[1] if "landmarks" in store.columns else 0,
    )
    torch.manual_seed(options.seed)
    policy = build_policy(config, statistics=store.statistics)
    windows = WindowConfig(
        batch_size=run.batch_size,
        random_shift=run.random_shift,
        color_jitter=run.color_jitter,
        seed=options.seed,
        history=config.history,
        history_stride=config.history_stride,
        horizon=config.horizon,
    )
    return policy, WindowLoader(store, windows), windows


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train, save, and return what came of it."""
    recipe = bcz_metaworld()
    training = replace(recipe.training, minutes=options.minutes, steps=None, seed=options.seed)
    began = perf_counter()
    policy, loader, windows = make_learner(options, recipe)
    preparation = perf_counter() - began
    description = {"policy": describe_policy(policy.config), "windows": asdict(windows)}
    done = train_loop(
        SupervisedUpdate(policy, training),
        loader.batches,
        config=training,
        folder=options.out,
        description=description,
    )
    counts = {True: 0, False: 0}
    for value in policy.parameters():
        counts[value.requires_grad] += value.numel()
    return {
        "tasks": options.tasks.split(","),
        "frames": len(loader.store),
        "seconds": done.seconds,
        "preparation_seconds": preparation,
        "steps": done.steps,
        "samples": done.steps * windows.batch_size,
        "batch_size": windows.batch_size,
        "final_loss": done.final_loss,
        "parameters_trained": counts[True],
        "parameters_frozen": counts[False],
        "precision": training.precision,
        "peak_resident_main": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "inputs": [*policy.config.cameras, "state", "instruction"],
        "changes": {} if options.name == "bcz-landmarks" else {"landmarks": 0},
        "loader": "memory-mapped frames, one thread",
        "versions": software_versions(["mujoco", "metaworld"]),
    }


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Measure loader, optimizer step and call of the policy, each alone, for some seconds."""
    recipe = bcz_metaworld()
    training = recipe.training
    policy, loader, windows = make_learner(options, recipe)
    optimizer = build_optimizer(
        policy, learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )
    trained = [value for value in policy.parameters() if value.requires_grad]
    batches = loader.batches()
    batch = next(batches)
    loading = seconds_of(lambda: next(batches), options.seconds)
    batches.close()  # type: ignore[attr-defined]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            loss = policy.loss(batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, training.gradient_clip)
        optimizer.step()

    policy.train()
    stepping = seconds_of(step, options.seconds)
    torch.set_num_threads(1)
    policy.eval()
    observation = Observation(
        image={name: picture[:1, -1] for name, picture in batch.image.items()},
        state=batch.state[:1, -1],
        instruction=batch.instruction[:1],
        env_ids=[0],
    )
    calling = seconds_of(lambda: policy.act(observation), options.seconds)
    return {
        "loader_samples_per_second": windows.batch_size * len(loading) / sum(loading),
        "step_samples_per_second": windows.batch_size * len(stepping) / sum(stepping),
        "call_milliseconds": [1000 * value for value in calling],
    }


if __name__ == "__main__":
    run_command(__doc__.splitlines()[0], ["bcz", "bcz-landmarks"], train=train, speed=speed)
