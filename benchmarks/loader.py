"""Samples/s of our loader, and of LeRobot's own on the same data set, in one run.

Run:
    python benchmarks/loader.py [--data FOLDER]

Without ``--data`` a data set of moving blocks at 96 pixels is written first. LeRobot is measured
when ``EYEHAND_LEROBOT_PYTHON`` names the Python of an environment with ``lerobot``: its own
``LeRobotDataset`` in a ``DataLoader`` with the same batch size and chunk, with 0 and with 2
workers, decoding with torchcodec where FFmpeg is installed and with PyAV; the fastest counts. Both
read from a warm page cache; ours augments, LeRobot's does not.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from eyehand.data.store import open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.data.writer import DatasetWriter
from eyehand.types import Episode

BATCH, HORIZON, ROUNDS, ROUND_BATCHES = 256, 16, 5, 40

PEER = """
import sys, time
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

folder, backend = sys.argv[1:3]
batch, horizon, workers, seconds = map(int, sys.argv[3:])
fps = LeRobotDataset("eyehand/benchmark", root=folder).fps
dataset = LeRobotDataset(
    "eyehand/benchmark", root=folder, video_backend=backend,
    delta_timestamps={"action": [step / fps for step in range(horizon)]},
)
loader = torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=workers)
batches = iter(loader)
next(batches)
samples, began = 0, time.perf_counter()
for item in batches:
    samples += len(item["action"])
    if time.perf_counter() - began > seconds:
        break
print(samples / (time.perf_counter() - began))
"""


def write_blocks(folder: Path, episodes: int = 60, length: int = 80) -> None:
    """Write a data set of blocks that move before a still, textured background."""
    random = np.random.default_rng(0)
    background = random.integers(60, 200, (24, 24, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    shapes = {"top": (96, 96)}
    with DatasetWriter(
        folder, fps=80, image_shapes=shapes, state_dim=4, action_dim=4, robot="blocks"
    ) as writer:
        for seed in range(episodes):
            film = np.repeat(background[None], length, axis=0)
            for step in range(length):
                film[step, step % 80 : step % 80 + 12, 30:44] = (220, 40, seed)
            numbers = random.normal(size=(length, 4)).astype(np.float32)
            writer.add(Episode({"top": film}, numbers, numbers, "Move.", task="blocks", seed=seed))


def ours(folder: Path, config: WindowConfig) -> float:
    """Return the median samples/s over some rounds."""
    batches = WindowLoader(open_store(folder, image_size=96), config).batches()
    for _ in range(4):
        next(batches)
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(ROUND_BATCHES):
            next(batches)
        rates.append(ROUND_BATCHES * BATCH / (time.perf_counter() - began))
    batches.close()  # type: ignore[attr-defined]
    return statistics.median(rates)


def theirs(python: str, folder: Path, backend: str, workers: int) -> float | None:
    """Return LeRobot's samples/s over twenty seconds, None where the backend does not load."""
    arguments = map(str, (folder, backend, BATCH, HORIZON, workers, 20))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PEER, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    """Print samples/s of ours with and without augmentation and history, theirs, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    folder = parser.parse_args().data
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary)
            write_blocks(folder)
        began = time.perf_counter()
        frames = len(open_store(folder, image_size=96))
        print(f"{frames} frames; store opened or built in {time.perf_counter() - began:.1f} s")
        plain = WindowConfig(batch_size=BATCH, horizon=HORIZON)
        rate = ours(folder, plain)
        print(f"ours, chunk 16, history 1, shift and colour: {rate:,.0f} samples/s")
        still = WindowConfig(batch_size=BATCH, random_shift=0, color_jitter=0.0)
        print(f"ours, not augmented: {ours(folder, still):,.0f} samples/s")
        longer = WindowConfig(batch_size=BATCH, history=4, history_stride=4)
        print(f"ours, history 4: {ours(folder, longer):,.0f} samples/s")
        memory = psutil.Process().memory_info()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        own = (memory.rss - memory.shared) / 1e9
        print(
            f"resident {memory.rss / 1e9:.2f} GB (peak {peak:.2f}), page cache aside {own:.2f} GB"
        )
        python = os.environ.get("EYEHAND_LEROBOT_PYTHON")
        if python is None:
            print("lerobot: not measured, EYEHAND_LEROBOT_PYTHON is not set")
            return
        peers = []
        for backend, workers in itertools.product(("torchcodec", "pyav"), (0, 2)):
            peer = theirs(python, folder, backend, workers)
            found = "does not load" if peer is None else f"{peer:,.0f} samples/s"
            print(f"lerobot's DataLoader, {backend}, {workers} workers: {found}")
            peers += [] if peer is None else [peer]
        print(f"ratio: {rate / max(peers):.1f}")


if __name__ == "__main__":
    main()
