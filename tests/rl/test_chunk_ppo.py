"""The value learns the chance of success, and advantages follow from it."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator

from eyehand.rl.chunk_ppo import ChunkPPO, ChunkPPOConfig

Make = Callable[..., Any]


def test_the_value_becomes_the_chance_of_success(make_policy: Make, practise_once: Make) -> None:
    """Of starts whose first number is far from the policy's action success is rare."""
    policy = make_policy()
    config = ChunkPPOConfig(randomness=0.3, critic_learning_rate=1e-2, minibatch=64)
    update = ChunkPPO(policy, config, practise_once)
    practice = practise_once(policy, 0)
    update.prepare(Accelerator(cpu=True), practice)
    torch.manual_seed(0)
    losses = [float(update.judge(practise_once(policy, n))[2]["value_loss"]) for n in range(20)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    with torch.no_grad():
        value = update.critic(practice.drawn.feature[:, -1]).sigmoid()
    good, bad = value[practice.success].mean(), value[~practice.success].mean()
    assert good > bad + 0.05


def test_advantages_of_an_episode_follow_the_value(make_policy: Make, practise_once: Make) -> None:
    """With one chunk an episode: what came of it, less what was expected, in deviations."""
    policy = make_policy()
    update = ChunkPPO(policy, ChunkPPOConfig(randomness=0.3, epochs=1), practise_once)
    practice = practise_once(policy, 0)
    update.prepare(Accelerator(cpu=True), practice)
    with torch.no_grad():
        value = update.critic(practice.drawn.feature[:, -1]).sigmoid()
    advantage, used, _ = update.judge(practice)
    raw = practice.success.float() - value
    torch.testing.assert_close(advantage, (raw - raw.mean()) / (raw.std(correction=0) + 1e-8))
    assert used.all()
    practice.success[:] = False
    assert not update.judge(practice)[1].any()  # the value's own errors alone tell nothing


def test_the_trace_ends_with_the_episode(
    make_policy: Make, practise_once: Make, several_chunks: Make
) -> None:
    policy = make_policy()
    config = ChunkPPOConfig(randomness=0.3, epochs=1, discount=0.9, trace=0.8)
    update = ChunkPPO(policy, config, practise_once)
    practice = several_chunks(policy)
    update.prepare(Accelerator(cpu=True), practice)
    with torch.no_grad():
        value = update.critic(practice.drawn.feature[:, -1]).sigmoid()
    raw = []
    for episode, won in enumerate(practice.success.tolist()):
        own = value[practice.episode == episode].tolist()
        errors = [
            0.9 * (own[n + 1] if n + 1 < len(own) else 0.0)
            + float(won and n + 1 == len(own))
            - own[n]
            for n in range(len(own))
        ]
        raw += [
            sum((0.9 * 0.8) ** k * error for k, error in enumerate(errors[n:]))
            for n in range(len(own))
        ]
    wanted = torch.tensor(raw)
    wanted = (wanted - wanted.mean()) / (wanted.std(correction=0) + 1e-8)
    torch.testing.assert_close(update.judge(practice)[0], wanted, atol=1e-5, rtol=1e-5)
