r"""Temporal differences: what a state is worth, learnt from the next state's value at every step.

Sutton, 1988, doi 10.1007/BF00115009; Sutton and Barto, 2018, chapters 6 and 7; Zhao, 2025,
*Mathematical Foundations of Reinforcement Learning*, sec. 7.1.

Step sizes: the conditions of Robbins and Monro allow ``step_size / n**power`` for powers above 1/2
up to 1. A power of 1 is allowed and useless: each value then moves towards a target that moves
itself, and their distance falls only like :math:`n^{-(1 - \gamma)}`, with a discount of 0.9 like
the tenth root of the visits. Powers of 0.6 to 0.8 are good.
"""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float64

from eyehand.rl.tabular import TabularConfig, TabularEnv, Transition, Watch, totals
from eyehand.types import InputError


def td_0(
    env: gymnasium.Env[Any, Any],
    policy: Float64[np.ndarray, "state action"],
    config: TabularConfig,
    *,
    watch: Watch | None = None,
) -> Float64[np.ndarray, " state"]:
    r"""Learn what each state is worth under a policy, one step at a time.

    .. math:: V(s_t) \leftarrow V(s_t) + \alpha \big(r_t + \gamma V(s_{t+1}) - V(s_t)\big)

    What people get wrong: after the last state nothing follows, and its value is 0; after a state
    at which an episode was merely cut short, its value counts.

    Args:
        env: An environment of numbers.
        policy: Probability of each action in each state.
        config: How much to learn from; ``epsilon`` is not used.
        watch: Sees the values after each step.

    Returns:
        Value of each state.

    Raises:
        InputError: If the environment is not one of numbers or pays what is not finite, or the
            policy is not one for it.

    References:
        Zhao, 2025, sec. 7.1.
    """
    world = TabularEnv(env, config)
    world.check_policy(policy)
    values, visits = np.zeros(world.states), np.zeros(world.states)
    for _ in range(config.episodes):
        for step in world.follow(policy):
            ahead = 0.0 if step.terminated else values[step.next_state]
            target = step.reward + config.discount * ahead
            visits[step.state] += 1
            values[step.state] += config.size(visits[step.state]) * (target - values[step.state])
            if watch is not None:
                watch(world.steps, values)
    return values


def n_step_td(
    env: gymnasium.Env[Any, Any],
    policy: Float64[np.ndarray, "state action"],
    config: TabularConfig,
    *,
    n: int,
    watch: Watch | None = None,
) -> Float64[np.ndarray, " state"]:
    r"""Learn what each state is worth under a policy, from n rewards and the value after them.

    .. math:: V(s_t) \leftarrow V(s_t) + \alpha \big(r_t + \gamma r_{t+1} + \dots
              + \gamma^n V(s_{t+n}) - V(s_t)\big)

    One step is `td_0`. As many as an episode has are Monte Carlo: nothing is guessed, and every
    chance of the way adds to the noise.

    Args:
        env: An environment of numbers.
        policy: Probability of each action in each state.
        config: How much to learn from; ``epsilon`` is not used.
        n: Number of rewards, at least 1; an episode that is over sooner gives fewer.
        watch: Sees the values after each step.

    Returns:
        Value of each state.

    Raises:
        InputError: If n is below 1, the environment is not one of numbers or pays what is not
            finite, or the policy is not one for it.

    References:
        Sutton and Barto, 2018, sec. 7.1.
    """
    check_n(n)
    world = TabularEnv(env, config)
    world.check_policy(policy)
    values, visits = np.zeros(world.states), np.zeros(world.states)
    for _ in range(config.episodes):
        waiting: deque[Transition] = deque()
        for step in world.follow(policy):
            waiting.append(step)
            while waiting and (step.over or len(waiting) == n):
                ahead = 0.0 if step.terminated else values[step.next_state]
                rewards = [later.reward for later in waiting]
                target = totals(rewards, discount=config.discount, ahead=ahead)[0]
                state = waiting.popleft().state
                visits[state] += 1
                values[state] += config.size(visits[state]) * (target - values[state])
            if watch is not None:
                watch(world.steps, values)
    return values


def check_n(n: int) -> None:
    """Refuse a number of steps that is none.

    Raises:
        InputError: If n is below 1.
    """
    if n < 1:
        raise InputError(f"`n` must be at least 1 step. Got {n}.")
