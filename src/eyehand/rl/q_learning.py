r"""Q-learning: learn what the best policy would get, whatever policy acts.

Watkins, 1989, *Learning from Delayed Rewards*; convergence: Watkins and Dayan, 1992,
doi 10.1007/BF00992698; Sutton and Barto, 2018, sec. 6.5; Zhao, 2025, *Mathematical Foundations of
Reinforcement Learning*, sec. 7.4.

.. math:: Q(s_t, a_t) \leftarrow Q(s_t, a_t)
          + \alpha \big(r_t + \gamma \max_a Q(s_{t+1}, a) - Q(s_t, a_t)\big)

It is Bellman's optimality equation, solved by stochastic approximation. The target holds no action
of the policy that acts, so that policy may be anything that tries every action often enough.
"""

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float64

from eyehand.rl.tabular import Learned, TabularConfig, TabularEnv, Watch


def q_learning(
    env: gymnasium.Env[Any, Any], config: TabularConfig, *, watch: Watch | None = None
) -> Learned:
    r"""Act :math:`\epsilon`-greedily on what is being learnt (the on-policy form).

    What people get wrong: the rewards on the way are those of exploring, and may be worse than
    Sarsa's; it is the greedy policy of the table that is better.

    Args:
        env: An environment of numbers.
        config: How to explore and to learn.
        watch: Sees the table after each step.

    Raises:
        InputError: If the environment is not one of numbers or pays what is not finite.

    References:
        Zhao, 2025, sec. 7.4.
    """
    world = TabularEnv(env, config)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        state = world.reset()
        while not world.over:
            action = world.explore(values[state])
            next_state, reward, terminated = world.step(action)
            ahead = 0.0 if terminated else values[next_state].max()
            target = reward + config.discount * ahead
            visits[state, action] += 1
            size = config.size(visits[state, action])
            values[state, action] += size * (target - values[state, action])
            if watch is not None:
                watch(world.steps, values)
            state = next_state
    return world.learned(values)


def off_policy_q_learning(
    env: gymnasium.Env[Any, Any],
    behaviour: Float64[np.ndarray, "state action"],
    config: TabularConfig,
    *,
    watch: Watch | None = None,
) -> Learned:
    """Learn from what another policy does.

    What people get wrong: entries of actions that the behaviour never takes stay as they are, at 0,
    and the maximum believes them.

    Args:
        env: An environment of numbers.
        behaviour: Probability of each action in each state, of the policy that acts.
        config: How to learn; ``epsilon`` is not used.
        watch: Sees the table after each step.

    Raises:
        InputError: If the environment is not one of numbers or pays what is not finite, or the
            behaviour is not a policy for it.

    References:
        Zhao, 2025, sec. 7.4.
    """
    world = TabularEnv(env, config)
    world.check_policy(behaviour)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        for step in world.follow(behaviour):
            ahead = 0.0 if step.terminated else values[step.next_state].max()
            target = step.reward + config.discount * ahead
            place = step.state, step.action
            visits[place] += 1
            values[place] += config.size(visits[place]) * (target - values[place])
            if watch is not None:
                watch(world.steps, values)
    return world.learned(values)
