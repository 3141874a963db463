"""Chunks/s and waiting time of the policy server with 1, 4 and 16 clients; batched, and one by one.

Run:
    python benchmarks/serving.py [--checkpoint mt50]

The server is a process of its own on one core, the clients are threads of another process on the
other. Both ways take turns in every round; the median over the rounds counts. A ratio says how many
times as many chunks/s all clients together get as with ``--most-robots 1 --window-ms 0``.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from eyehand.serving.client import PolicyConnection

CLIENTS, ROUNDS, SECONDS, SERVER_CORE, CLIENT_CORE = (1, 4, 16), 3, 5.0, 0, 1
WAYS = {"batched": [], "one by one": ["--most-robots", "1", "--window-ms", "0"]}


def start(checkpoint: str, options: list[str]) -> tuple[subprocess.Popen[str], str]:
    """Start a server; return it and its address."""
    command = [sys.executable, "-c", "from eyehand.cli import main; main()"]
    command += ["serve", checkpoint, "--port", "0", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *command],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    found = re.search(r"ws://\S+:\d+", process.stderr.readline())
    assert found
    return process, found[0]


def load(address: str, clients: int, seconds: float) -> list[float]:
    """Let clients ask one chunk after the other; return the time of every answer, seconds."""
    times: list[float] = []
    ready, until = threading.Barrier(clients), [0.0]

    def ask(number: int) -> None:
        connection = PolicyConnection(address)
        told = connection.metadata
        size = told["image_size"]
        generator = np.random.default_rng(number)
        message = {
            key: generator.integers(0, 255, (size, size, 3), np.uint8)
            for key in told["picture_keys"].values()
        }
        message |= {
            "observation/state": np.zeros(told["state_dim"], np.float32),
            "prompt": f"open drawer {number}",
        }
        connection.infer(message)  # the sentence is encoded once
        if ready.wait() == 0:
            until[0] = time.perf_counter() + seconds
        ready.wait()
        while (begun := time.perf_counter()) < until[0]:
            connection.infer(message)
            times.append(time.perf_counter() - begun)
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("mt50"))
    wanted = parser.parse_args()
    os.sched_setaffinity(0, [CLIENT_CORE])
    servers = {way: start(str(wanted.checkpoint), options) for way, options in WAYS.items()}
    found: dict[tuple[str, int], list[list[float]]] = {}
    try:
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for way, (_, address) in servers.items():
                    found.setdefault((way, clients), []).append(load(address, clients, SECONDS))
    finally:
        for process, _ in servers.values():
            process.terminate()
    print("| clients | | chunks/s | p50, ms | p99, ms | ratio |")
    print("| --- " * 6 + "|")
    for clients in CLIENTS:
        rates = {
            way: statistics.median(len(times) / SECONDS for times in found[way, clients])
            for way in WAYS
        }
        for way in WAYS:
            times = 1000 * np.concatenate(found[way, clients])
            median, late = np.quantile(times, [0.5, 0.99])
            ratio = f"{rates[way] / rates['one by one']:.2f}"
            print(f"| {clients} | {way} | {rates[way]:.0f} | {median:.1f} | {late:.1f} | {ratio} |")


if __name__ == "__main__":
    main()
