"""Closed-loop steps/s with rendering: workers simulate, a BC-Z policy with random weights acts.

Run:
    python benchmarks/rollout.py [--workers 2] [--environments 16] [--threads 1] [--episodes 2]

Random weights solve little, so the episodes are long: what is measured is the pace, not success.
"""

import argparse
import resource
import time

import torch

from eyehand.envs import rollout as rollout_module
from eyehand.envs.execution import Execution
from eyehand.envs.metaworld import METAWORLD
from eyehand.envs.rollout import Start, rollout
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import build_policy
from eyehand.types import ActionChunk, Observation


def main() -> None:
    """Run the episodes and print the pace and where the time went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--environments", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the policy; the protocol's is 1")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--execution-steps", type=int, default=4)
    parser.add_argument("--tasks", default="reach,soccer,drawer-open,push,assembly")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    rollout_module.POLICY_THREADS = arguments.threads
    policy = build_policy(
        BCZConfig(), statistics=blank_statistics(state_dim=4, action_dim=4)
    ).eval()
    calls: list[float] = []
    act = policy.act

    def timed_act(
        observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        began = time.perf_counter()
        chunks = act(observation, generator=generator)
        calls.append(time.perf_counter() - began)
        return chunks

    policy.act = timed_act  # type: ignore[method-assign]
    starts = [
        Start(task, seed, METAWORLD.instructions(task).canonical)
        for task in METAWORLD.select_tasks(arguments.tasks)
        for seed in range(arguments.episodes)
    ]
    began = time.perf_counter()
    outcomes = rollout(
        policy, METAWORLD, starts, execution=Execution(steps=arguments.execution_steps),
        cameras={METAWORLD.camera: 96}, workers=arguments.workers,
        environments=arguments.environments,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    steps = sum(outcome.steps for outcome in outcomes)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    mine, workers = (usage.ru_utime + usage.ru_stime for usage in used)
    print(
        f"{steps / seconds:.0f} steps/s ({steps:,} steps of {len(outcomes)} episodes in "
        f"{seconds:.1f} s, start of {arguments.workers} workers included)"
    )
    print(f"the policy: {sum(calls):.1f} s, {1000 * sum(calls) / len(calls):.1f} ms a call")
    print(f"processor time: {mine:.1f} s here with imports, {workers:.1f} s in the workers")


if __name__ == "__main__":
    main()
