"""How often a suite's scripted expert succeeds, task by task, alone and with pushes.

    python benchmarks/experts.py --suite libero --out docs/benchmarks/libero/experts.json

Start states are validation seeds, which no recording has. A pushed episode is what a recording of
demonstrations makes: now and then a random push takes the hand off its way. Prints a line for each
task and writes all outcomes.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from eyehand.collection.demonstrate import expert_episode
from eyehand.envs.suite import find_suite
from eyehand.evaluation.results import Rate, percent, percent_range

FIRST = 10_000
"""The first seed for validation."""


@dataclass(frozen=True)
class Outcomes:
    """What the expert reached in one task."""

    task: str
    perturbation: float
    """Strength of the pushes, standard deviation per axis in action units."""
    seeds: tuple[int, int]
    """The first and the last."""
    successes: list[bool]
    steps: list[int]
    """Actions of every episode."""


def outcomes(task: str, *, suite: str, perturbation: float, seeds: range) -> Outcomes:
    """Let the expert do a task from every start state."""
    family = find_suite(suite)
    env = family.make(task, cameras={family.camera: 16}, render_observations=False)
    tries = [expert_episode(family, env, seed=s, perturbation=perturbation) for s in seeds]
    env.close()
    return Outcomes(
        task,
        perturbation,
        (seeds[0], seeds[-1]),
        [one.success for one in tries],
        [len(one.executed) for one in tries],
    )


def main() -> None:
    """Try every task, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="libero")
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=FIRST)
    parser.add_argument("--perturbation", type=float, nargs="+", default=[0.0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    tasks = find_suite(wanted.suite).select_tasks(wanted.tasks)
    found = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted.workers, context) as workers:
        for strength in wanted.perturbation:
            tried = partial(
                outcomes,
                suite=wanted.suite,
                perturbation=strength,
                seeds=range(wanted.seed, wanted.seed + wanted.episodes),
            )
            for one in workers.map(tried, tasks):
                rate = Rate.of(sum(one.successes), len(one.successes))
                print(
                    f"{one.task:90s} {percent(rate.success_rate):>6} "
                    f"({percent_range(rate.interval)}), {np.mean(one.steps):.0f} steps"
                    f"{f', pushed {strength:g}' if strength else ''}",
                    flush=True,
                )
                found.append(one)
    if wanted.out:
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
        wanted.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
