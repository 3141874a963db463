"""Collectors act, remember, and go on in the middle of episodes to the bit."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.rl.experience import Act, Collector, check_actions, means_of, measure
from eyehand.types import InputError

MAKERS = {
    "discrete": partial(gymnasium.make, "CartPole-v1"),
    "numbers": partial(gymnasium.make, "Pendulum-v1"),
}


def collector(kind: str, count: int = 2) -> Collector:
    return Collector(GymnasiumEnvironments([MAKERS[kind]() for _ in range(count)]), seed=3)


def drawn(kind: str, seed: int) -> Act:
    draw = torch.Generator().manual_seed(seed)

    def act(observation: torch.Tensor) -> torch.Tensor:
        if kind == "discrete":
            return torch.randint(2, (len(observation),), generator=draw)
        return 2 * torch.rand(len(observation), 1, generator=draw) - 1

    return act


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_recorded_is_what_the_environments_did(kind: str) -> None:
    made = collector(kind)
    experience, finished = made.collect(drawn(kind, 0), 60)
    assert len(experience) == 120
    assert experience.reward.shape == (60, 2)
    again = MAKERS[kind]()
    observation, total = again.reset(seed=3)[0], 0.0
    for step in range(60):
        np.testing.assert_array_equal(experience.observation[step, 0], observation)
        action = experience.action[step, 0]
        taken = int(action) if kind == "discrete" else 2 * action.numpy()  # a torque of 2 at most
        observation, reward, terminated, truncated, _ = again.step(taken)
        total += reward
        assert experience.reward[step, 0].item() == pytest.approx(reward)
        np.testing.assert_array_equal(experience.next_observation[step, 0], observation)
        assert bool(experience.terminated[step, 0]) == terminated
        if terminated or truncated:
            assert any(one["return"] == pytest.approx(total) for one in finished)
            break


@pytest.mark.parametrize("kind", MAKERS)
def test_a_restored_collector_goes_on_to_the_bit(kind: str) -> None:
    one, other = collector(kind), collector(kind)
    one.collect(drawn(kind, 0), 37)
    other.load_state_dict(one.state_dict())
    found = [made.collect(drawn(kind, 1), 40) for made in (one, other)]
    for name in ("observation", "action", "reward", "next_observation", "terminated", "truncated"):
        assert torch.equal(getattr(found[0][0], name), getattr(found[1][0], name)), name
    assert found[0][1] == found[1][1]


def test_an_episode_that_is_cut_short_did_not_end() -> None:
    short = GymnasiumEnvironments([gymnasium.make("Pendulum-v1", max_episode_steps=5)])
    made = Collector(short, seed=0)
    experience, finished = made.collect(drawn("numbers", 0), 11)
    assert experience.truncated[:, 0].nonzero()[:, 0].tolist() == [4, 9]
    assert not experience.terminated.any()
    assert len(finished) == 2
    # What an action led to is kept, and the next row begins anew.
    assert not torch.equal(experience.next_observation[4, 0], experience.observation[5, 0])
    assert torch.equal(experience.next_observation[3, 0], experience.observation[4, 0])


def test_what_cannot_be_collected_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="DQN needs actions that are discrete; these are numbers"):
        check_actions(MAKERS["numbers"]().action_space, algorithm="DQN", discrete=True)
    assert check_actions(MAKERS["numbers"]().action_space, algorithm="SAC", discrete=False) == 1
    assert check_actions(MAKERS["discrete"]().action_space, algorithm="DQN", discrete=True) == 2


def test_nothing_is_logged_where_no_episode_ended() -> None:
    assert means_of([]) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_measured_episodes_do_not_depend_on_how_many_run_at_a_time(count: int) -> None:
    def act(observation: torch.Tensor) -> torch.Tensor:
        return (observation[:, 2] > 0).long()

    made = GymnasiumEnvironments.make("CartPole-v1", count)
    found = measure(act, made, range(5))
    alone = [measure(act, GymnasiumEnvironments.make("CartPole-v1", 1), [n])[0] for n in range(5)]
    assert found == alone
    assert len({one["return"] for one in found}) > 1
