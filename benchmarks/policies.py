"""Speed of every policy at its default size: training samples/s, and milliseconds per action chunk.

    python benchmarks/policies.py
    python benchmarks/policies.py --threads 2 --frames 256 bcz

A training step is loss, gradients and AdamW under bfloat16 autocast on random pictures; a sample is
one frame. A chunk is one call of ``act`` on one core. The machine's own matrix-multiply peak is
measured beside each row: on a busy machine it falls with the row, so compare their ratio.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from eyehand.policies.contract import PolicyModule
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import POLICIES, build_policy, policy_class
from eyehand.types import Batch, Observation

SENTENCES = [
    "open the drawer",
    "push the puck to the goal",
    "pick up the nut and place it onto the peg",
    "rotate the faucet counter-clockwise",
]


def random_batch(policy: PolicyModule, frames: int) -> Batch:
    """Return windows with ``frames`` frames in all."""
    config = policy.config
    shape = (frames // config.history, config.history)
    size = config.image_size
    return Batch(
        image={
            camera: torch.randint(0, 256, (*shape, size, size, 3), dtype=torch.uint8)
            for camera in config.cameras
        },
        state=torch.randn(*shape, config.state_dim),
        action=2 * torch.rand(*shape, config.horizon, config.action_dim) - 1,
        action_mask=torch.ones(*shape, config.horizon, dtype=torch.bool),
        history_mask=torch.ones(shape, dtype=torch.bool),
        instruction=[SENTENCES[row % len(SENTENCES)] for row in range(shape[0])],
    )


def seconds(call: Callable[[], object], *, warm_up: int, repeats: int) -> np.ndarray:
    """Return the wall time of each of ``repeats`` calls."""
    times = []
    for index in range(warm_up + repeats):
        start = time.perf_counter()
        call()
        if index >= warm_up:
            times.append(time.perf_counter() - start)
    return np.array(times)


def peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Return the matrix-multiply speed of this moment, GFLOP/s."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / float(np.median(seconds(lambda: a @ b, warm_up=1, repeats=5))) / 1e9


def measure_training(policy: PolicyModule, frames: int) -> float:
    """Return samples per second, the median over steps."""
    policy.train()
    batch = random_batch(policy, frames)
    trained = [value for value in policy.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = policy.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    samples = batch.history_mask.numel()
    return samples / float(np.median(seconds(step, warm_up=3, repeats=10)))


def measure_acting(policy: PolicyModule, robots: int) -> np.ndarray:
    """Return the wall time of calls of ``act``, milliseconds."""
    policy.eval()
    batch = random_batch(policy, robots * policy.config.history)
    observation = Observation(
        image={camera: image[:, -1] for camera, image in batch.image.items()},
        state=batch.state[:, -1],
        instruction=batch.instruction,
        env_ids=list(range(robots)),
    )
    return 1e3 * seconds(lambda: policy.act(observation), warm_up=20, repeats=200)


def main() -> None:
    """Print a block of rows per policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(POLICIES), metavar="POLICY")
    parser.add_argument("--threads", type=int, default=2, help="cores of a training step")
    parser.add_argument("--frames", type=int, default=256, help="frames in a training batch")
    wanted = parser.parse_args()
    print(f"torch {torch.__version__}, load {Path('/proc/loadavg').read_text().split()[0]}")
    for name in wanted.names:
        config = policy_class(name).Config()
        statistics = blank_statistics(state_dim=config.state_dim, action_dim=config.action_dim)
        policy = build_policy(config, statistics=statistics)
        trained = sum(value.numel() for value in policy.parameters() if value.requires_grad)
        frozen = sum(value.numel() for value in policy.parameters() if not value.requires_grad)
        print(f"{name}: {trained / 1e6:.2f}M trained, {frozen / 1e6:.1f}M frozen")
        torch.set_num_threads(wanted.threads)
        speed = measure_training(policy, wanted.frames)
        print(
            f"  training, {wanted.threads} cores: {speed:.0f} samples/s "
            f"(bf16 peak {peak(torch.bfloat16):.0f} GFLOP/s)"
        )
        torch.set_num_threads(1)
        for robots in (1, 8):
            half, most = np.percentile(measure_acting(policy, robots), [50, 99])
            print(
                f"  acting, 1 core, {robots} robots: p50 {half:.1f} ms, p99 {most:.1f} ms "
                f"(fp32 peak {peak(torch.float32):.0f} GFLOP/s)"
            )


if __name__ == "__main__":
    main()
