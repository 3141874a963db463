"""Settings, and the environment as tables see it: seeds, lengths, policies, and what is refused."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from eyehand.envs.grid_world import PATH_TASK, GridWorld, GridWorldEnv
from eyehand.envs.two_ways import TwoWaysEnv
from eyehand.rl.linear_values import (
    lstd,
    semi_gradient_q_learning,
    semi_gradient_sarsa,
    semi_gradient_td,
)
from eyehand.rl.monte_carlo import (
    monte_carlo_basic,
    monte_carlo_epsilon_greedy,
    monte_carlo_exploring_starts,
)
from eyehand.rl.q_learning import off_policy_q_learning, q_learning
from eyehand.rl.sarsa import expected_sarsa, n_step_sarsa, sarsa
from eyehand.rl.tabular import TabularConfig, TabularEnv
from eyehand.rl.temporal_difference import n_step_td, td_0
from eyehand.types import InputError

CONFIG = TabularConfig(episodes=3, length=7)


def uniform(world: GridWorld) -> np.ndarray:
    return np.full((world.states, 5), 0.2)


class BrokenReward(gymnasium.RewardWrapper):
    """Pays what is no number."""

    def reward(self, reward: Any) -> float:
        return float("nan")


def test_episodes_are_cut_at_their_length(small: GridWorld) -> None:
    world = TabularEnv(GridWorldEnv(small), CONFIG)
    steps = list(world.follow(uniform(small)))
    assert [step.over for step in steps] == [False] * 6 + [True]
    assert not any(step.terminated for step in steps)
    assert [one.next_state for one in steps[:-1]] == [one.state for one in steps[1:]]
    assert world.steps == 7


def test_episodes_end_where_the_task_does() -> None:
    world = TabularEnv(GridWorldEnv(PATH_TASK), TabularConfig(length=100_000))
    steps = list(world.follow(uniform(PATH_TASK)))
    last = steps[-1]
    assert (last.terminated, last.over) == (True, True)
    assert last.next_state == PATH_TASK.state(PATH_TASK.target)
    assert world.returns == [sum(step.reward for step in steps)]
    assert world.lengths == [len(steps)]


def test_the_limit_of_the_environment_counts_too(small: GridWorld) -> None:
    env = gymnasium.wrappers.TimeLimit(GridWorldEnv(small), max_episode_steps=3)
    steps = list(TabularEnv(env, CONFIG).follow(uniform(small)))
    assert [step.over for step in steps] == [False, False, True]
    assert not any(step.terminated for step in steps)


def test_a_policy_is_followed_as_often_as_it_says(small: GridWorld) -> None:
    policy = np.tile([0.5, 0.0, 0.3, 0.2, 0.0], (6, 1))
    world = TabularEnv(GridWorldEnv(small), TabularConfig(length=3000))
    actions = [step.action for step in world.follow(policy)]
    seen = np.bincount(actions, minlength=5) / 3000
    np.testing.assert_allclose(seen, policy[0], atol=0.04)
    assert seen[1] == seen[4] == 0


def test_exploring_takes_the_best_action_and_now_and_then_any(small: GridWorld) -> None:
    world = TabularEnv(GridWorldEnv(small), TabularConfig(epsilon=0.5))
    values = np.array([0.0, 3.0, 3.0, 1.0, 2.0])
    seen = np.bincount([world.explore(values) for _ in range(2000)], minlength=5) / 2000
    np.testing.assert_allclose(seen, [0.1, 0.6, 0.1, 0.1, 0.1], atol=0.04)


def test_exploring_dies_out_with_its_power(small: GridWorld) -> None:
    world = TabularEnv(GridWorldEnv(small), TabularConfig(epsilon=0.5, epsilon_power=0.5))
    assert world.epsilon == 0.5
    world.steps = 99
    assert world.epsilon == pytest.approx(0.05)
    seen = np.bincount([world.explore(np.eye(5)[1]) for _ in range(2000)], minlength=5) / 2000
    np.testing.assert_allclose(seen, [0.01, 0.96, 0.01, 0.01, 0.01], atol=0.015)


def test_one_seed_decides_the_run_and_episodes_differ(slippery: GridWorld) -> None:
    def run(seed: int) -> list[Any]:
        world = TabularEnv(GridWorldEnv(slippery), TabularConfig(length=6, seed=seed))
        return [list(world.follow(uniform(slippery))) for _ in range(3)]

    first = run(5)
    assert first == run(5) != run(6)
    assert first[0] != first[1] != first[2]
    world = TabularEnv(GridWorldEnv(slippery), CONFIG)
    assert {world.reset() for _ in range(50)} == set(range(6))


def test_exploring_and_slipping_draw_different_numbers(slippery: GridWorld) -> None:
    """From the same numbers, the robot would slip whenever it happens to do a certain action."""
    env = GridWorldEnv(slippery)
    world = TabularEnv(env, CONFIG)
    world.reset()
    mine, theirs = world.random.random(1000), env.np_random.random(1000)
    assert not np.isin(mine, theirs).any()
    assert abs(np.corrcoef(mine, theirs)[0, 1]) < 0.1


def test_starts_may_be_chosen(small: GridWorld) -> None:
    world = TabularEnv(GridWorldEnv(small), CONFIG)
    assert [world.reset(state=state) for state in (4, 0, 5)] == [4, 0, 5]
    lake = TabularEnv(gymnasium.make("FrozenLake-v1"), CONFIG)
    with pytest.raises(InputError, match=r"reset\(options=\{'state': 5\}\)`. It began in 0"):
        lake.reset(state=5)


METHODS = {
    "basic": lambda env, config: monte_carlo_basic(env, config, rounds=1),
    "exploring starts": lambda env, config: monte_carlo_exploring_starts(env, config, tail=0),
    "epsilon greedy": lambda env, config: monte_carlo_epsilon_greedy(env, config, tail=0),
    "sarsa": sarsa,
    "expected sarsa": expected_sarsa,
    "n-step sarsa": lambda env, config: n_step_sarsa(env, config, n=2),
    "q-learning": q_learning,
    "off-policy": lambda env, config: off_policy_q_learning(env, np.full((6, 5), 0.2), config),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_refuses_what_it_cannot_learn_from(name: str, small: GridWorld) -> None:
    with pytest.raises(InputError, match=r"states that are numbered from 0.*Got Dict"):
        METHODS[name](TwoWaysEnv(cameras={"top": 8}), CONFIG)
    with pytest.raises(InputError, match=r"must be a finite number. Got nan for action \d"):
        METHODS[name](BrokenReward(GridWorldEnv(small)), CONFIG)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_twice_and_counts_its_episodes(
    name: str, slippery: GridWorld
) -> None:
    one, two = (METHODS[name](GridWorldEnv(slippery), CONFIG) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)
    episodes = 6 * 5 * 3 if name == "basic" else 3
    assert one.lengths.tolist() == [7.0] * episodes
    assert len(one.returns) == episodes
    assert (one.policy.sum(axis=1) == 1).all()


class OneStep(gymnasium.Env[int, int]):
    """One state; a step pays 1, leads back to it, and ends the task: it is worth 1."""

    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):  # type: ignore[no-untyped-def]
        return 0, 1.0, True, False, {}


ONE = np.ones((1, 1))
ENDING = {
    **METHODS,
    "off-policy": lambda env, config: off_policy_q_learning(env, ONE, config),
    "td(0)": lambda env, config: td_0(env, ONE, config),
    "n-step td": lambda env, config: n_step_td(env, ONE, config, n=2),
    "semi-gradient td": lambda env, config: semi_gradient_td(env, ONE, ONE, config),
    "lstd": lambda env, config: lstd(env, ONE, ONE, config),
    "semi-gradient sarsa": lambda env, config: semi_gradient_sarsa(env, ONE, config),
    "semi-gradient q": lambda env, config: semi_gradient_q_learning(env, ONE, config),
}


@pytest.mark.parametrize("name", ENDING)
def test_after_the_end_nothing_is_worth_anything(name: str) -> None:
    """Without the mask the step would be worth 1 / (1 - discount), 10."""
    found = ENDING[name](OneStep(), TabularConfig(step_size=0.5, episodes=60))
    np.testing.assert_allclose(getattr(found, "values", found), 1.0, rtol=0, atol=1e-12)


def test_continuous_actions_are_refused() -> None:
    env = gymnasium.wrappers.TransformObservation(
        gymnasium.make("Pendulum-v1"), lambda seen: 0, gymnasium.spaces.Discrete(2)
    )
    with pytest.raises(InputError, match=r"actions that are numbered from 0.*Got Box"):
        TabularEnv(env, CONFIG)


def test_policies_for_another_world_are_refused(small: GridWorld) -> None:
    world = TabularEnv(GridWorldEnv(small), CONFIG)
    with pytest.raises(InputError, match=r"6 states and 5 actions. Got 4 and 5"):
        world.check_policy(np.full((4, 5), 0.2))
    with pytest.raises(InputError, match="sum to 1"):
        world.check_policy(np.full((6, 5), 0.3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"discount": 1.0}, "TabularConfig.discount must be 0 to 0.9999; got 1.0"),
        ({"epsilon": -0.1}, "TabularConfig.epsilon must be 0 to 1; got -0.1"),
        ({"epsilon_power": -1.0}, "TabularConfig.epsilon_power must be 0 to 2; got -1.0"),
        ({"step_size": float("nan")}, "TabularConfig.step_size must be 0 to 1; got nan"),
        ({"power": 3.0}, "TabularConfig.power must be 0 to 2; got 3.0"),
        ({"episodes": 0}, "TabularConfig.episodes must be 1 to"),
        ({"length": 0}, "TabularConfig.length must be 1 to"),
        ({"seed": -1}, "TabularConfig.seed must be 0 to"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TabularConfig(**change)
