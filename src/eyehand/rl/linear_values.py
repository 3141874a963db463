r"""Linear values: weights in place of a table, so that one state teaches about others.

Values are ``features @ weights``. Features that are 1 in one state each give the tables back.

Semi-gradient: Sutton, 1988; Tsitsiklis and Van Roy, 1997, doi 10.1109/9.580874; LSTD: Bradtke and
Barto, 1996, doi 10.1007/BF00114723; Sutton and Barto, 2018, chapters 9 to 11; Zhao, 2025,
*Mathematical Foundations of Reinforcement Learning*, chapter 8.

What people get wrong: the target holds the weights, too, and its gradient is left out, so this
descends no loss. It converges on the states that the learnt policy visits, to
`eyehand.functional.bellman.projected_weights`. With other states, a maximum in the target and
features that generalise, weights may grow without bound (Baird, 1995); that is noticed here, and
said.
"""

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float64

from eyehand.rl.tabular import TabularConfig, TabularEnv, Watch
from eyehand.types import InputError

LARGEST = 1e9
"""Errors beyond this are divergence."""


def semi_gradient_td(
    env: gymnasium.Env[Any, Any],
    policy: Float64[np.ndarray, "state action"],
    features: Float64[np.ndarray, "state feature"],
    config: TabularConfig,
    *,
    watch: Watch | None = None,
) -> Float64[np.ndarray, " feature"]:
    r"""Learn linear values of a policy, one step at a time.

    .. math:: w \leftarrow w
              + \alpha \big(r_t + \gamma w^\top \phi_{t+1} - w^\top \phi_t\big) \phi_t

    Args:
        env: An environment of numbers.
        policy: Probability of each action in each state.
        features: Of each state.
        config: How much to learn from. ``power`` counts all steps, not the visits of a state. As a
            rule of thumb ``step_size`` stays below 2 over the largest squared length of a row of
            features. ``epsilon`` is not used.
        watch: Sees the weights after each step.

    Returns:
        Weights; ``features @ weights`` are the values.

    Raises:
        InputError: If the weights diverge, there is not one row of features a state, the
            environment is not one of numbers or pays what is not finite, or the policy is not one
            for it.

    References:
        Zhao, 2025, sec. 8.2.
    """
    world = TabularEnv(env, config)
    world.check_policy(policy)
    _check_features(features, world)
    weights = np.zeros(features.shape[1])
    for _ in range(config.episodes):
        for step in world.follow(policy):
            here = features[step.state]
            ahead = 0.0 if step.terminated else features[step.next_state] @ weights
            error = step.reward + config.discount * ahead - here @ weights
            if not abs(error) < LARGEST:
                raise _diverged(config)
            weights += config.size(world.steps) * error * here
            if watch is not None:
                watch(world.steps, weights)
    return weights


def lstd(
    env: gymnasium.Env[Any, Any],
    policy: Float64[np.ndarray, "state action"],
    features: Float64[np.ndarray, "state feature"],
    config: TabularConfig,
) -> Float64[np.ndarray, " feature"]:
    r"""Solve for the linear values at which the steps seen hold no surprise on average (LSTD).

    .. math:: \Big(\sum_t \phi_t (\phi_t - \gamma \phi_{t+1})^\top\Big) w = \sum_t \phi_t r_t

    It is where `semi_gradient_td` goes, at once and without a step size, at the cost of a matrix
    of the square of the features.

    Args:
        env: An environment of numbers.
        policy: Probability of each action in each state.
        features: Of each state.
        config: How much to learn from; ``epsilon``, ``step_size`` and ``power`` are not used.

    Returns:
        Weights; ``features @ weights`` are the values.

    Raises:
        InputError: If the steps do not determine the weights, there is not one row of features a
            state, the environment is not one of numbers or pays what is not finite, or the policy
            is not one for it.
    """
    world = TabularEnv(env, config)
    world.check_policy(policy)
    _check_features(features, world)
    size = features.shape[1]
    matrix, paid = np.zeros((size, size)), np.zeros(size)
    for _ in range(config.episodes):
        for step in world.follow(policy):
            here = features[step.state]
            ahead = 0.0 if step.terminated else features[step.next_state]
            matrix += np.outer(here, here - config.discount * ahead)
            paid += here * step.reward
    rank = int(np.linalg.matrix_rank(matrix))
    if rank < size:
        raise InputError(
            f"the steps must determine {size} weights. They determine {rank}: take more steps, or "
            "features that are linearly independent on the states that occur."
        )
    return np.linalg.solve(matrix, paid)


def semi_gradient_sarsa(
    env: gymnasium.Env[Any, Any],
    features: Float64[np.ndarray, "state feature"],
    config: TabularConfig,
    *,
    watch: Watch | None = None,
) -> Float64[np.ndarray, "action feature"]:
    """Sarsa with linear values: for each action weights of its own.

    Args:
        env: An environment of numbers.
        features: Of each state.
        config: How to explore and to learn; see `semi_gradient_td`.
        watch: Sees the weights after each step.

    Returns:
        Weights; ``features @ weights.T`` are the values of the actions.

    Raises:
        InputError: If the weights diverge, there is not one row of features a state, or the
            environment is not one of numbers or pays what is not finite.

    References:
        Sutton and Barto, 2018, sec. 10.1; Zhao, 2025, sec. 8.3.
    """
    world = TabularEnv(env, config)
    _check_features(features, world)
    weights = np.zeros((world.actions, features.shape[1]))
    for _ in range(config.episodes):
        state = world.reset()
        action = world.explore(weights @ features[state])
        while not world.over:
            next_state, reward, terminated = world.step(action)
            after = weights @ features[next_state]
            next_action = world.explore(after)
            ahead = 0.0 if terminated else after[next_action]
            error = reward + config.discount * ahead - weights[action] @ features[state]
            if not abs(error) < LARGEST:
                raise _diverged(config)
            weights[action] += config.size(world.steps) * error * features[state]
            if watch is not None:
                watch(world.steps, weights)
            state, action = next_state, next_action
    return weights


def semi_gradient_q_learning(
    env: gymnasium.Env[Any, Any],
    features: Float64[np.ndarray, "state feature"],
    config: TabularConfig,
    *,
    watch: Watch | None = None,
) -> Float64[np.ndarray, "action feature"]:
    """Q-learning with linear values: for each action weights of its own.

    Args:
        env: An environment of numbers.
        features: Of each state.
        config: How to explore and to learn; see `semi_gradient_td`.
        watch: Sees the weights after each step.

    Returns:
        Weights; ``features @ weights.T`` are the values of the actions.

    Raises:
        InputError: If the weights diverge, there is not one row of features a state, or the
            environment is not one of numbers or pays what is not finite.

    References:
        Zhao, 2025, sec. 8.3; divergence: Baird, 1995, doi 10.1016/B978-1-55860-377-6.50013-X.
    """
    world = TabularEnv(env, config)
    _check_features(features, world)
    weights = np.zeros((world.actions, features.shape[1]))
    for _ in range(config.episodes):
        state = world.reset()
        while not world.over:
            action = world.explore(weights @ features[state])
            next_state, reward, terminated = world.step(action)
            ahead = 0.0 if terminated else (weights @ features[next_state]).max()
            error = reward + config.discount * ahead - weights[action] @ features[state]
            if not abs(error) < LARGEST:
                raise _diverged(config)
            weights[action] += config.size(world.steps) * error * features[state]
            if watch is not None:
                watch(world.steps, weights)
            state = next_state
    return weights


def _check_features(features: Float64[np.ndarray, "state feature"], world: TabularEnv) -> None:
    if len(features) != world.states:
        raise InputError(
            f"there must be {world.states} rows of features, one a state. Got {len(features)}."
        )
    if not np.isfinite(features).all():
        raise InputError("features must be finite numbers.")


def _diverged(config: TabularConfig) -> InputError:
    return InputError(
        f"the weights diverge with step_size={config.step_size:g}; take a smaller one, or features "
        "that generalise less. If the states are not those of the policy that is learnt, no step "
        "size may help."
    )
