r"""Sarsa: state, action, reward, state, action; learn what an action is worth, and act on it.

Rummery and Niranjan, 1994, *On-Line Q-Learning Using Connectionist Systems*; expected Sarsa: van
Seijen et al., 2009, doi 10.1109/ADPRL.2009.4927542; Sutton and Barto, 2018, sec. 6.4, 6.6 and 7.2;
Zhao, 2025, *Mathematical Foundations of Reinforcement Learning*, sec. 7.2 and 7.3.

All three learn what an action is worth if one goes on :math:`\epsilon`-greedily, exploration
included: ``action_values(process, v)`` with the optimal values v of ``process.soft(epsilon)``. So
Sarsa keeps away from the edge of a cliff that Q-learning walks along. With an ``epsilon_power`` of
`TabularConfig` exploring dies out, and these become the optimal values, as long as every action is
still tried often enough.
"""

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from eyehand.rl.tabular import Learned, TabularConfig, TabularEnv, Watch, totals
from eyehand.rl.temporal_difference import check_n
from eyehand.types import InputError


def sarsa(
    env: gymnasium.Env[Any, Any], config: TabularConfig, *, watch: Watch | None = None
) -> Learned:
    r"""Learn from each step and the action that is really taken after it.

    .. math:: Q(s_t, a_t) \leftarrow Q(s_t, a_t)
              + \alpha \big(r_t + \gamma Q(s_{t+1}, a_{t+1}) - Q(s_t, a_t)\big)

    Args:
        env: An environment of numbers.
        config: How to explore and to learn.
        watch: Sees the table after each step.

    Raises:
        InputError: If the environment is not one of numbers or pays what is not finite.

    References:
        Zhao, 2025, sec. 7.2.
    """
    world = TabularEnv(env, config)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        state = world.reset()
        action = world.explore(values[state])
        while not world.over:
            next_state, reward, terminated = world.step(action)
            next_action = world.explore(values[next_state])
            ahead = 0.0 if terminated else values[next_state, next_action]
            target = reward + config.discount * ahead
            visits[state, action] += 1
            size = config.size(visits[state, action])
            values[state, action] += size * (target - values[state, action])
            if watch is not None:
                watch(world.steps, values)
            state, action = next_state, next_action
    return world.learned(values)


def expected_sarsa(
    env: gymnasium.Env[Any, Any],
    config: TabularConfig,
    *,
    target_epsilon: float | None = None,
    watch: Watch | None = None,
) -> Learned:
    r"""Learn from each step and the mean of what may be done after it.

    .. math:: Q(s_t, a_t) \leftarrow Q(s_t, a_t) + \alpha \big(r_t
              + \gamma \textstyle\sum_a \pi(a \mid s_{t+1}) Q(s_{t+1}, a) - Q(s_t, a_t)\big)

    The mean takes the chance of the next action out of the target.

    Args:
        env: An environment of numbers.
        config: How to explore and to learn.
        target_epsilon: Exploration of the policy that is learnt about, in [0, 1]; None is that of
            the policy that acts, and 0 is Q-learning.
        watch: Sees the table after each step.

    Raises:
        InputError: If ``target_epsilon`` lies outside [0, 1], or the environment is not one of
            numbers or pays what is not finite.
    """
    if target_epsilon is not None and not 0 <= target_epsilon <= 1:
        raise InputError(f"`target_epsilon` must be 0 to 1; got {target_epsilon}.")
    world = TabularEnv(env, config)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        state = world.reset()
        while not world.over:
            action = world.explore(values[state])
            next_state, reward, terminated = world.step(action)
            after = values[next_state]
            epsilon = world.epsilon if target_epsilon is None else target_epsilon
            ahead = 0.0 if terminated else (1 - epsilon) * after.max() + epsilon * after.mean()
            target = reward + config.discount * ahead
            visits[state, action] += 1
            size = config.size(visits[state, action])
            values[state, action] += size * (target - values[state, action])
            if watch is not None:
                watch(world.steps, values)
            state = next_state
    return world.learned(values)


def n_step_sarsa(
    env: gymnasium.Env[Any, Any],
    config: TabularConfig,
    *,
    n: int,
    watch: Watch | None = None,
) -> Learned:
    r"""Learn from n rewards and the action that is really taken after them.

    .. math:: Q(s_t, a_t) \leftarrow Q(s_t, a_t) + \alpha \big(r_t + \dots
              + \gamma^n Q(s_{t+n}, a_{t+n}) - Q(s_t, a_t)\big)

    One step is `sarsa`; as many as an episode has are Monte Carlo.

    Args:
        env: An environment of numbers.
        config: How to explore and to learn.
        n: Number of rewards, at least 1; an episode that is over sooner gives fewer.
        watch: Sees the table after each step.

    Raises:
        InputError: If n is below 1, or the environment is not one of numbers or pays what is not
            finite.
    """
    check_n(n)
    world = TabularEnv(env, config)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        waiting: deque[tuple[tuple[int, int], float]] = deque()
        state = world.reset()
        action = world.explore(values[state])
        while not world.over:
            next_state, reward, terminated = world.step(action)
            next_action = world.explore(values[next_state])
            waiting.append(((state, action), reward))
            while waiting and (world.over or len(waiting) == n):
                ahead = 0.0 if terminated else values[next_state, next_action]
                rewards = [later for _, later in waiting]
                target = totals(rewards, discount=config.discount, ahead=ahead)[0]
                place, _ = waiting.popleft()
                visits[place] += 1
                values[place] += config.size(visits[place]) * (target - values[place])
            if watch is not None:
                watch(world.steps, values)
            state, action = next_state, next_action
    return world.learned(values)
