"""One gradient of ours and of Stable-Baselines3 from the same weights and the same experience."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.functional.returns import gae
from eyehand.rl.dqn import DQN, DQNConfig
from eyehand.rl.experience import Experience, Turn
from eyehand.rl.on_policy import Rollout
from eyehand.rl.ppo import PPO, PPOConfig
from eyehand.rl.sac import SAC, SACConfig
from eyehand.rl.td3 import TD3, TD3Config

STEPS, RATE = 64, 1e-2


def copied(ours: nn.Module, theirs: nn.Module) -> None:
    """Give a network the linear layers of another one, in their order."""
    pairs = zip(linears(ours), linears(theirs), strict=True)
    with torch.no_grad():
        for mine, other in pairs:
            other.weight.copy_(mine.weight)
            other.bias.copy_(mine.bias)


def linears(network: nn.Module) -> list[nn.Linear]:
    return [part for part in network.modules() if isinstance(part, nn.Linear)]


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for mine, other in zip(linears(ours), linears(theirs), strict=True):
        torch.testing.assert_close(mine.weight, other.weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(mine.bias, other.bias, rtol=1e-4, atol=1e-6)


def experience(dim: int, action: Tensor) -> Experience:
    draw = torch.Generator().manual_seed(0)
    return Experience(
        torch.randn(STEPS, dim, generator=draw),
        action,
        torch.randn(STEPS, generator=draw),
        torch.randn(STEPS, dim, generator=draw),
        torch.rand(STEPS, generator=draw) < 0.2,
        torch.zeros(STEPS, dtype=torch.bool),
    )


def test_advantages_are_theirs() -> None:
    """Theirs knows ends only, so nothing is cut short here but the data."""
    from stable_baselines3.common.buffers import RolloutBuffer

    draw = np.random.default_rng(0)
    space = gymnasium.spaces.Box(-1, 1, (3,))
    buffer = RolloutBuffer(9, space, space, gae_lambda=0.9, gamma=0.97, n_envs=2)
    reward, value = (draw.normal(size=(9, 2)).astype(np.float32) for _ in range(2))
    ended = draw.random((9, 2)) < 0.3
    last = torch.from_numpy(draw.normal(size=2).astype(np.float32))
    buffer.rewards, buffer.values = reward, value
    buffer.episode_starts = np.concatenate([np.zeros((1, 2)), ended[:-1]]).astype(np.float32)
    buffer.compute_returns_and_advantage(last, ended[-1])
    values = torch.from_numpy(value)
    found = gae(
        torch.from_numpy(reward),
        values,
        torch.cat([values[1:], last[None]]),
        torch.from_numpy(ended),
        torch.zeros(9, 2, dtype=torch.bool),
        discount=0.97,
        trace=0.9,
    )
    np.testing.assert_allclose(found, buffer.advantages, atol=1e-5)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_a_step_of_ppo_is_theirs(name: str) -> None:
    from stable_baselines3 import PPO as THEIRS

    config = PPOConfig(
        steps=STEPS, epochs=1, minibatch=STEPS, learning_rate=RATE, value_weight=1.0,
        entropy_weight=0.01,
    )  # fmt: skip
    torch.manual_seed(0)
    ours = PPO(GymnasiumEnvironments.make(name, 1), config)
    ours.prepare(Accelerator(cpu=True), Turn(1))
    theirs: Any = THEIRS(
        "MlpPolicy", gymnasium.make(name), learning_rate=RATE, n_steps=STEPS, batch_size=STEPS,
        n_epochs=1, ent_coef=0.01, vf_coef=0.5, device="cpu",
    )  # fmt: skip
    policy = theirs.policy
    copied(ours.network.policy, nn.ModuleList([policy.mlp_extractor.policy_net, policy.action_net]))
    copied(ours.network.value, nn.ModuleList([policy.mlp_extractor.value_net, policy.value_net]))
    taken, _ = ours.collector.collect(ours.network.act, STEPS)
    flat = taken.flat()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        log_prob, _, value = ours.network(flat.observation, flat.action)
    log_prob = log_prob + 0.3 * torch.randn(STEPS, generator=draw)  # as after other steps
    advantage, target = torch.randn(2, STEPS, generator=draw)
    buffer = theirs.rollout_buffer
    buffer.observations = flat.observation.numpy()[:, None]
    buffer.actions = flat.action.reshape(STEPS, 1, -1).numpy().astype(np.float32)
    for field, values in (
        ("log_probs", log_prob),
        ("values", value),
        ("advantages", advantage),
        ("returns", target),
    ):
        setattr(buffer, field, values.numpy()[:, None])
    buffer.full = True
    theirs._logger = _Silent()
    theirs.train()
    ours.learn(Rollout(flat, log_prob, advantage, target))
    assert_same(
        ours.network.policy,
        nn.ModuleList([policy.mlp_extractor.policy_net, policy.action_net]),
    )
    assert_same(
        ours.network.value, nn.ModuleList([policy.mlp_extractor.value_net, policy.value_net])
    )


@pytest.mark.parametrize("dims", [(32, 32)])
def test_a_step_of_dqn_is_theirs(dims: tuple[int, ...]) -> None:
    from stable_baselines3 import DQN as THEIRS

    config = DQNConfig(dims=dims, double=False, learning_rate=RATE, minibatch=STEPS)
    torch.manual_seed(0)
    ours = DQN(GymnasiumEnvironments.make("CartPole-v1", 1), config)
    ours.prepare(Accelerator(cpu=True), Turn(1))
    theirs: Any = THEIRS(
        "MlpPolicy", gymnasium.make("CartPole-v1"), learning_rate=RATE, batch_size=STEPS,
        gamma=0.99, max_grad_norm=10, policy_kwargs={"net_arch": list(dims)}, device="cpu",
    )  # fmt: skip
    copied(ours.network, theirs.q_net)
    with torch.no_grad():
        for weight in ours.target.parameters():
            weight.mul_(0.7)
    copied(ours.target, theirs.q_net_target)
    part = experience(4, torch.randint(2, (STEPS,), generator=torch.Generator().manual_seed(2)))
    theirs.replay_buffer = _Fixed(part)
    theirs._logger = _Silent()
    theirs.train(gradient_steps=1, batch_size=STEPS)
    ours.learn(part)
    assert_same(ours.network, theirs.q_net)


def test_two_steps_of_td3_are_theirs() -> None:
    """Without the noise on the target, which each draws for itself; the second moves the policy."""
    from stable_baselines3 import TD3 as THEIRS

    config = TD3Config(dims=(32, 32), learning_rate=RATE, target_noise=0.0, minibatch=STEPS)
    torch.manual_seed(0)
    ours = TD3(GymnasiumEnvironments.make("Pendulum-v1", 1), config)
    ours.prepare(Accelerator(cpu=True), Turn(1))
    theirs: Any = THEIRS(
        "MlpPolicy", gymnasium.make("Pendulum-v1"), learning_rate=RATE, batch_size=STEPS,
        target_policy_noise=0.0, target_noise_clip=0.0, device="cpu",
        policy_kwargs={"net_arch": [32, 32]},
    )  # fmt: skip
    copied(ours.policy, theirs.actor)
    copied(ours.critic, theirs.critic)
    copied(ours.target_policy, theirs.actor_target)
    copied(ours.target_critic, theirs.critic_target)
    action = 2 * torch.rand(STEPS, 1, generator=torch.Generator().manual_seed(2)) - 1
    part = experience(3, action)
    theirs.replay_buffer = _Fixed(part)
    theirs._logger = _Silent()
    theirs.train(gradient_steps=2, batch_size=STEPS)
    for _ in range(2):
        ours.learn(part)
        ours.gradients += 1
    assert_same(ours.policy, theirs.actor)
    assert_same(ours.critic, theirs.critic)
    assert_same(ours.target_policy, theirs.actor_target)
    assert_same(ours.target_critic, theirs.critic_target)


def test_a_step_of_sac_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, weights, targets and the temperature, where both draw the same noise."""
    from stable_baselines3 import SAC as THEIRS

    config = SACConfig(
        dims=(32, 32), learning_rate=RATE, minibatch=STEPS, temperature=0.3, follow=0.1
    )
    torch.manual_seed(0)
    ours = SAC(GymnasiumEnvironments.make("Pendulum-v1", 1), config)
    ours.prepare(Accelerator(cpu=True), Turn(1))
    theirs: Any = THEIRS(
        "MlpPolicy", gymnasium.make("Pendulum-v1"), learning_rate=RATE, batch_size=STEPS,
        ent_coef="auto_0.3", tau=0.1, policy_kwargs={"net_arch": [32, 32]}, device="cpu",
    )  # fmt: skip
    actor = theirs.actor
    copied(ours.policy.trunk, actor.latent_pi)
    heads = (actor.mu, actor.log_std)  # of two layers of theirs ours is one
    with torch.no_grad():
        for weight in ours.target_critic.parameters():
            weight.mul_(0.7)
        for name in ("weight", "bias"):
            for half, head in zip(getattr(ours.policy.to_both, name).chunk(2), heads, strict=True):
                getattr(head, name).copy_(half)
    copied(ours.critic, theirs.critic)
    copied(ours.target_critic, theirs.critic_target)
    draw = torch.Generator().manual_seed(2)
    part = experience(3, 2 * torch.rand(STEPS, 1, generator=draw) - 1)
    noise = torch.randn(STEPS, 1, generator=draw)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
    monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: noise)
    theirs.replay_buffer, logged = _Fixed(part), _Kept()
    theirs._logger = logged
    theirs.train(gradient_steps=1, batch_size=STEPS)
    found = ours.learn(part)
    own = {"critic_loss": "loss", "actor_loss": "policy", "ent_coef": "temperature"}
    for their_name, name in own.items():
        torch.testing.assert_close(
            float(found[name]), float(logged.values[f"train/{their_name}"]), rtol=1e-5, atol=1e-5
        )
    assert_same(ours.policy.trunk, actor.latent_pi)
    for name in ("weight", "bias"):
        both = torch.cat([getattr(head, name) for head in heads])
        torch.testing.assert_close(getattr(ours.policy.to_both, name), both, rtol=1e-5, atol=1e-5)
    assert_same(ours.critic, theirs.critic)
    assert_same(ours.target_critic, theirs.critic_target)
    moved = ours.temperature.log.detach()
    assert abs(float(moved) - np.log(0.3)) > 1e-3
    torch.testing.assert_close(moved, theirs.log_ent_coef.detach(), rtol=1e-5, atol=1e-5)


class _Fixed:
    """A replay buffer of theirs that draws the same experience each time."""

    def __init__(self, part: Experience) -> None:
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        self.samples = ReplayBufferSamples(
            part.observation,
            part.action.reshape(STEPS, -1),
            part.next_observation,
            part.terminated.float()[:, None],
            part.reward[:, None],
        )

    def sample(self, *_: object, **__: object) -> object:
        return self.samples


class _Silent:
    """A logger of theirs that says nothing."""

    def record(self, *_: object, **__: object) -> None: ...


class _Kept:
    """A logger of theirs that keeps the last values."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def record(self, name: str, value: object, **_: object) -> None:
        self.values[name] = value
