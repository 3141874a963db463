"""Every way to practise keeps the contract of updates and learns what it must."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from eyehand.functional.policy_loss import group_advantage
from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.chunk_ppo import ChunkPPO, ChunkPPOConfig
from eyehand.rl.chunk_update import ChunkConfig
from eyehand.rl.grpo import GRPO
from eyehand.rl.trajectory_dpo import TrajectoryDPO, TrajectoryDPOConfig, pairs_of
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
    """On practice that was made before: what is learnt does not change it."""
    made = [practise_once(make_policy(), number) for number in range(4)]
    algorithm, config = UPDATES[name]
    check_update(
        lambda: algorithm(make_policy(), config), lambda start: iter([*made[start:], *made])
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
    update = algorithm(policy, settings)
    update.prepare(Accelerator(cpu=True), practise_once(policy, 0))
    found = []
    for step in range(steps):
        seed_step(0, step, 0)
        practice = practise_once(policy, step, randomness=randomness)
        found.append(float(update.step(practice)["success"]))
    assert np.mean(found[-5:]) > np.mean(found[:5]) + 0.15


def test_pairs_make_the_better_one_more_probable(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    practice = practise_once(policy, 0)
    update = TrajectoryDPO(policy, TrajectoryDPOConfig(**SMALL, beta=1.0, pairs=32))
    update.prepare(Accelerator(cpu=True), practice)
    losses = []
    for step in range(40):
        seed_step(0, step, 0)
        losses.append(float(update.step(practice)["loss"]))
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert np.mean(losses[-5:]) < 0.63
    good, bad = pairs_of(practice)
    assert (practice.group[good] == practice.group[bad]).all()
    assert practice.success[good].all()
    assert not practice.success[bad].any()


def test_starts_that_tell_nothing_are_left_out(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    update = GRPO(policy, UPDATES["grpo"][1])
    practice = practise_once(policy, 0)
    update.prepare(Accelerator(cpu=True), practice)
    advantage, used, _ = update.judge(practice)
    reward = practice.success.float().view(16, 8)
    torch.testing.assert_close(advantage, group_advantage(reward).flatten())
    mixed = (reward.mean(dim=1) > 0) & (reward.mean(dim=1) < 1)
    assert torch.equal(used, mixed.repeat_interleave(8))
    practice.success[:] = True
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    found = update.step(practice)
    assert found["used"] == 0
    assert all(torch.equal(weight, before[name]) for name, weight in policy.state_dict().items())


def test_the_trunk_and_the_far_policy_stay(make_policy: Make, practise_once: Make) -> None:
    """A strong pull towards the policy at the beginning holds the practised one near it."""
    apart = []
    for weight in (0.0, 30.0):
        policy = make_policy()
        update = GRPO(policy, ChunkConfig(**SMALL, minibatch=64, divergence_weight=weight))
        update.prepare(Accelerator(cpu=True), practise_once(policy, 0))
        for step in range(8):
            seed_step(0, step, 0)
            found = update.step(practise_once(policy, step))
        apart.append(float(found["divergence"]))
    assert apart[1] < 0.5 * apart[0]


def test_groups_of_different_sizes_are_refused(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    practice = practise_once(policy, 0)
    practice.group[0] = 1
    with pytest.raises(InputError, match=r"as many episodes from every start; got \[7, 9"):
        GRPO(policy, ChunkConfig()).judge(practice)


def test_pairs_need_a_success_and_a_failure(make_policy: Make, practise_once: Make) -> None:
    policy = make_policy()
    practice = practise_once(policy, 0)
    practice.success[:] = False
    update = TrajectoryDPO(policy, TrajectoryDPOConfig())
    update.prepare(Accelerator(cpu=True), practice)
    with pytest.raises(InputError, match="no start of the practice has an episode that succeeded"):
        update.step(practice)
