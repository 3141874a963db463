"""Residual SAC learns to correct a base that is off, whatever its head, and leaves it as it is."""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.experience import Turn
from eyehand.rl.practice import Drawn, Practice, PractisingActor
from eyehand.rl.residual_sac import ResidualSAC, ResidualSACConfig, decisions
from eyehand.training.distributed import seed_step
from eyehand.training.update import check_update
from eyehand.types import InputError, Observation

Make = Callable[..., Any]
ROBOTS, TRIES, OFF, NEAR = 48, 3, 0.3, 0.15
SMALL = ResidualSACConfig(
    alpha=0.5,
    ramp=300,
    buffer=2000,
    minibatch=64,
    updates_to_data=0.25,
    discount=0.5,
    follow=0.05,
    dims=(32,),
    learning_rate=5e-3,
)


def see(robots: list[int], state: torch.Tensor) -> Observation:
    return Observation(
        image={"corner4": torch.zeros(len(robots), 16, 16, 3, dtype=torch.uint8)},
        state=state,
        instruction=["correct"] * len(robots),
        env_ids=robots,
    )


def practise_off(policy: Any, number: int, randomness: float) -> Practice:
    """A decision is right where its actions are those of the base and a constant: 3 tries each."""
    actor = PractisingActor(policy, randomness=randomness, seed=number)
    draw = torch.Generator().manual_seed(number)
    left, tries, success = list(range(ROBOTS)), [0] * ROBOTS, [False] * ROBOTS
    policy.reset(left)
    for _ in range(TRIES):
        with torch.inference_mode():  # as a rollout does
            action = actor.act(see(left, 2 * torch.rand(len(left), 2, generator=draw) - 1))
        base, _ = torch.cat([actor.drawn[one][-1].sample for one in left]).chunk(2, dim=1)
        right = ((action[..., 0] - base - OFF).abs() < NEAR).all(dim=1)
        for robot, is_right in zip(left, right.tolist(), strict=True):
            tries[robot], success[robot] = tries[robot] + 1, is_right
        left = [robot for robot in left if not success[robot]]
        if not left:
            break
    steps = [2 * one for one in tries]
    return actor.practice(success, steps, list(range(ROBOTS)), terminated=success, executed=2)


def make_update(policy: Any, config: ResidualSACConfig = SMALL) -> ResidualSAC:
    torch.manual_seed(0)
    around = ResidualSAC.policy_of(policy, config, executed=2)
    return ResidualSAC(around, config, practise_off)


def learn(update: ResidualSAC, rounds: int) -> list[dict[str, float]]:
    update.prepare(Accelerator(cpu=True), Turn(1))
    course = []
    for step in range(rounds):
        seed_step(0, step, 0)
        course.append({name: float(value) for name, value in update.step(Turn(1)).items()})
    return course


@pytest.mark.parametrize(
    "head",
    [MLPHeadConfig(dims=(8,)), DiffusionHeadConfig(dim=8, depth=1, steps=2), LSTMHeadConfig(
        dim=8, depth=1, dims=(8,)
    )],
    ids=lambda head: head.name,
)  # fmt: skip
def test_the_contract_of_updates_is_kept(head: HeadConfig, make_policy: Make) -> None:
    """Whatever the head: diffusion cannot say how probable an action is, LSTM reads a window."""
    check_update(lambda: make_update(make_policy(head)), lambda start: repeat(Turn(1)))


def test_it_corrects_a_base_that_is_off_by_a_constant(make_policy: Make) -> None:
    base = make_policy()
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    update = make_update(base)
    course = learn(update, 20)
    assert course[0]["success"] == 0  # the base alone
    assert course[-1]["success"] > 0.9
    seen = see([-1] * 64, 2 * torch.rand(64, 2) - 1)
    off = update.policy.act(seen) - base.act(seen)
    assert (off - OFF).abs().mean() < NEAR  # the mean correction is right too
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())
    assert all(0 <= one["value"] < 1.2 for one in course[-3:])  # a chance of success


def test_the_share_of_corrected_decisions_grows_with_the_decisions_kept(
    make_policy: Make,
) -> None:
    update = make_update(make_policy())
    course = learn(update, 5)
    shares = [one["corrected"] for one in course]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for number, share in enumerate(shares):
        practice = practise_off(update.policy, number, share)
        is_corrected = (practice.drawn.sample.chunk(2, dim=1)[1] != 0).any(dim=1).float().mean()
        assert abs(float(is_corrected) - share) < 0.15


def test_decisions_are_chunks_with_what_came_of_them() -> None:
    """An episode that is solved, one that fails for good, and one whose time is over."""
    number = torch.arange(6, dtype=torch.float32)[:, None]
    sample = torch.cat([-number, 0.1 * number], dim=1)
    practice = Practice(
        Drawn(number[:, None], torch.ones(6, 1, dtype=torch.bool), sample),
        executed=torch.ones(6, 2, dtype=torch.bool),
        episode=torch.tensor([0, 0, 1, 2, 2, 2]),
        success=torch.tensor([True, False, False]),
        terminated=torch.tensor([True, True, False]),
        group=torch.tensor([0, 1, 2]),
    )  # fmt: skip
    found = decisions(practice)
    kept = number[[0, 1, 2, 3, 4]]
    torch.testing.assert_close(found.observation, torch.cat([kept, -kept], 1))
    torch.testing.assert_close(found.action, 0.1 * kept)
    assert found.reward.tolist() == [0, 1, 0, 0, 0]
    assert found.terminated.tolist() == [False, True, True, False, False]
    assert not found.truncated.any()
    following = [row for row, ends in enumerate(found.terminated.tolist()) if not ends]
    assert found.next_observation[following, 0].tolist() == [1, 4, 5]


def test_what_follows_counts_unless_the_task_ended_and_without_entropy(make_policy: Make) -> None:
    update = make_update(make_policy())
    practice = practise_off(update.policy, 0, 1.0)
    part = decisions(practice)
    torch.manual_seed(3)
    found = update.wanted(part)
    torch.manual_seed(3)
    mean, log_std = update.policy.correction(part.next_observation)
    action = torch.tanh(mean + log_std.exp() * torch.randn(mean.shape))
    with torch.no_grad():
        following = update.target_critic(part.next_observation, action).amin(dim=0)
    torch.testing.assert_close(found, (part.reward + 0.5 * following * ~part.terminated).detach())
    assert torch.equal(found[part.terminated], part.reward[part.terminated])


def test_the_critic_sees_what_is_done(make_policy: Make) -> None:
    """The same sum is worth the same, whatever of it is the base's, and beyond 1 nothing is."""
    critic = make_update(make_policy()).critic
    feature = torch.randn(1, 2).expand(3, -1)
    base, residual = torch.tensor([[0.1], [0.4], [0.1]]), torch.tensor([[0.8], [0.2], [0.9]])
    value = critic(
        torch.cat([feature, base.expand(-1, 2)], dim=1), residual.expand(-1, 2).contiguous()
    )
    torch.testing.assert_close(value[:, 0], value[:, 1])
    assert not torch.allclose(value[:, 0], value[:, 2])
    high = torch.tensor([[0.9, 0.9]]).expand(2, -1)
    value = critic(torch.cat([feature[:2], high], dim=1), torch.tensor([[0.5, 0.5], [1.0, 1.0]]))
    torch.testing.assert_close(value[:, 0], value[:, 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0.0), ("ramp", 0), ("updates_to_data", -1.0), ("buffer", 0), ("minibatch", 0),
        ("discount", 1.5), ("follow", -0.1), ("critics", 0), ("temperature", 0.0), ("dims", (0,)),
        ("dims", ()), ("learning_rate", 2.0),
    ],
)  # fmt: skip
def test_a_number_out_of_its_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"ResidualSACConfig\.{name} must"):
        ResidualSACConfig(**{name: value})


def test_what_does_not_fit_is_refused_in_a_sentence(make_policy: Make) -> None:
    with pytest.raises(InputError, match=r"executed must be 1 to 2; got 3"):
        ResidualSAC.policy_of(make_policy(), SMALL, executed=3)
    small = ResidualSACConfig(buffer=10, dims=(8,))
    with pytest.raises(InputError, match=r"buffer=10 must hold the 96 decisions of one round"):
        learn(make_update(make_policy(), small), 1)
