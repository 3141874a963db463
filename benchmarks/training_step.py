"""Where the time of a training step goes: loading, loss, gradients, clipping, AdamW, average.

    python benchmarks/training_step.py --data outputs/demo/data
    python benchmarks/training_step.py --data outputs/demo/data --recipe roboflamingo-metaworld

Two clocks: the wall, which other programs slow down, and the processor time of this process, which
they hardly touch; with one thread the two agree on a free machine. Compare on the second where the
machine is shared. ``--pages`` lets the C library give freed memory back after each step, as it does
unless `keep_freed_memory` is called.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
import torch

from eyehand.data.store import open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.policies.registry import build_policy
from eyehand.recipes import find_recipe
from eyehand.training.ema import MovingAverage
from eyehand.training.memory import keep_freed_memory
from eyehand.training.optimizer import build_optimizer

Result = TypeVar("Result")
PARTS = ("load", "loss", "gradient", "clip", "AdamW", "average")


class Clock:
    """Adds up both clocks, part by part."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}

    def time(self, part: str, call: Callable[[], Result]) -> Result:
        """Call, and note how long it took."""
        wall, processor = perf_counter(), process_time()
        result = call()
        self.times[part].append((perf_counter() - wall, process_time() - processor))
        return result


def main() -> None:
    """Print a line per part, and samples per second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument("--recipe", default="bcz-metaworld")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pages", action="store_true", help="give freed memory back")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.pages:
        keep_freed_memory()

    recipe = find_recipe(options.recipe)
    store = open_store(options.data, image_size=recipe.policy.image_size)
    config = recipe.policy.for_data(
        cameras=tuple(store.image),
        state_dim=store.state.shape[-1],
        action_dim=store.action.shape[-1],
        landmarks=store.columns["landmarks"].shape[1] if "landmarks" in store.columns else 0,
    )
    torch.manual_seed(0)
    policy = build_policy(config, statistics=store.statistics).train()
    windows = WindowConfig(
        batch_size=recipe.batch_size,
        random_shift=recipe.random_shift,
        color_jitter=recipe.color_jitter,
        history=config.history,
        history_stride=config.history_stride,
        horizon=config.horizon,
    )
    batches = WindowLoader(store, windows).batches()
    training = recipe.training
    optimizer = build_optimizer(
        policy, learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )
    weights = [p for p in policy.parameters() if p.requires_grad]
    average = MovingAverage(weights, decay=training.ema_decay)

    def loss_of(batch: object) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16"):
            return policy.loss(batch)["loss"]

    clock = Clock()
    for step in range(options.steps + 3):
        if step == 3:  # the first ones also pay for start-up
            clock = Clock()
        batch = clock.time("load", lambda: next(batches))
        optimizer.zero_grad()
        loss = clock.time("loss", lambda batch=batch: loss_of(batch))
        clock.time("gradient", loss.backward)
        clock.time("clip", lambda: torch.nn.utils.clip_grad_norm_(weights, training.gradient_clip))
        clock.time("AdamW", optimizer.step)
        clock.time("average", lambda step=step: average.update(step + 1))
    times = np.median([clock.times[part] for part in PARTS], axis=1)
    for part, (wall, processor) in zip(PARTS, 1e3 * times, strict=True):
        print(f"{part:10} {wall:8.1f} ms wall {processor:8.1f} ms processor")
    wall, processor = recipe.batch_size / times.sum(axis=0)
    print(
        f"{options.recipe}, {options.threads} threads: {wall:.0f} windows/s by the wall, "
        f"{processor:.0f} per second of processor time"
    )


if __name__ == "__main__":
    main()
