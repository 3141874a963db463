"""Every way to practise keeps the contract of updates and learns what it must."""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.chunk_ppo import ChunkPPO, ChunkPPOConfig
from eyehand.rl.chunk_update import ChunkConfig
from eyehand.rl.experience import Turn
from eyehand.rl.grpo import GRPO
from eyehand.rl.trajectory_dpo import TrajectoryDPO, TrajectoryDPOConfig
from eyehand.training.distributed import seed_step
from eyehand.training.update import check_update
from eyehand.types import InputError

SMALL: dict[str, Any] = {"randomness": 0.3, "learning_rate": 3e-3}
UPDATES: dict[str, tuple[Any, Any]] = {
    "grpo": (GRPO, ChunkConfig(**SMALL, minibatch=64)),
    "ppo": (ChunkPPO, ChunkPPOConfig(**SMALL, minibatch=64)),
    "dpo": (TrajectoryDPO, TrajectoryDPOConfig(**SMALL)),
}
HEADS: list[tuple[HeadConfig, float, int]] = [
    (MLPHeadConfig(dims=(16,)), 0.15, 25),
    (FlowHeadConfig(steps=3, dim=16, depth=1), 0.7, 40),
    (BinsHeadConfig(bins=8, dim=16, depth=1, heads=2, head_dim=8), 1.0, 40),
]
"""With its randomness and the rounds that it needs."""


Make = Callable[..., Any]


@pytest.mark.parametrize("name", UPDATES)
def test_the_contract_of_updates_is_kept(name: str, make_policy: Make, practise_once: Make) -> None:
    """Every round is practised by the policy as it is then, also by one that goes on."""
    algorithm, config = UPDATES[name]
    check_update(
        lambda: algorithm(make_policy(), config, practise_once), lambda start: repeat(Turn(1))
    )


@pytest.mark.parametrize(("head", "randomness", "steps"), HEADS, ids=lambda part: str(part)[:4])
@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_practice_makes_better(
    name: str,
    head: HeadConfig,
    randomness: float,
    steps: int,
    make_policy: Make,
    practise_once: Make,
) -> None:
    algorithm, _ = UPDATES[name]
    config = {"grpo": ChunkConfig, "ppo": ChunkPPOConfig}[name]
    settings = config(
        randomness=randomness, learning_rate=3e-3, minibatch=64, divergence_weight=0.0
    )
    policy = make_policy(head)
    update = algorithm(policy, settings, practise_once)
    update.prepare(Accelerator(cpu=True), Turn(1))
    found = []
    for step in range(steps):
        seed_step(0, step, 0)
        found.append(float(update.step(Turn(1))["success"]))
    assert np.mean(found[-5:]) > np.mean(found[:5]) + 0.15


def test_a_pull_towards_the_first_policy_holds_it_near(
    make_policy: Make, practise_once: Make
) -> None:
    apart = []
    for weight in (0.0, 30.0):
        config = ChunkConfig(**SMALL, minibatch=64, divergence_weight=weight)
        update = GRPO(make_policy(), config, practise_once)
        update.prepare(Accelerator(cpu=True), Turn(1))
        for step in range(8):
            seed_step(0, step, 0)
            found = update.step(Turn(1))
        apart.append(float(found["divergence"]))
    assert apart[1] < 0.5 * apart[0]


def test_several_processes_are_refused(
    make_policy: Make, practise_once: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = GRPO(make_policy(), ChunkConfig(), practise_once)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(InputError, match="learning by doing takes one process; this run has 2"):
        update.prepare(Accelerator(cpu=True), Turn(1))
