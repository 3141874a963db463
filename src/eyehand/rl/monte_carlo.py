r"""Monte Carlo: what an action is worth is the mean of the returns that followed it.

No model is needed and nothing is guessed from guesses; an episode has to be over before anything is
learnt from it. Three ways to make sure that every action is tried: play episodes from all of them
(`monte_carlo_basic`), begin each episode with a random one (`monte_carlo_exploring_starts`), or
never stop trying (`monte_carlo_epsilon_greedy`).

Sutton and Barto, 2018, chapter 5; Zhao, 2025, *Mathematical Foundations of Reinforcement Learning*,
chapter 5.

Where the task never ends, episodes are cut after `TabularConfig.length` steps, and what follows
counts as 0. The return of a step near the cut is then far too small. So the last ``tail`` steps
only add to the returns of those before them, whose error is at most :math:`\gamma^{tail}` times the
largest value.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float64

from eyehand.functional.bellman import epsilon_greedy_policy, greedy_policy
from eyehand.rl.tabular import Learned, TabularConfig, TabularEnv, Transition, Watch, totals
from eyehand.types import InputError


def monte_carlo_basic(
    env: gymnasium.Env[Any, Any],
    config: TabularConfig,
    *,
    rounds: int,
    starts: Sequence[int] | None = None,
    watch: Watch | None = None,
) -> Learned:
    r"""Policy iteration in which episodes take the place of the model (Zhao, 2025, sec. 5.2).

    In each round, from every state and action, episodes are played in which the present policy goes
    on after that action; the mean of their returns is the action's value, and the greedy policy is
    the next one.

    What people get wrong: the length of the episodes decides how far reward is seen. A state that
    is further from any reward than an episode is long has a value of 0, however many are played.

    Args:
        env: Must begin in the state of ``reset(options={"state": s})``.
        config: ``episodes`` from each state and action in a round, each of ``length`` steps;
            without chance in the world one is enough.
        rounds: Number of policies that are evaluated, at least 1.
        starts: States to begin in; None is all. Leave out those in which the task is over, as
            ``GridWorld.starts`` does: their values stay at 0.
        watch: Sees the table after each round.

    Returns:
        Values of the actions under the last policy evaluated.

    Raises:
        InputError: If ``rounds`` is below 1, ``starts`` are no states, or the environment is not
            one of numbers, cannot begin in a given state, or pays what is not finite.
    """
    if rounds < 1:
        raise InputError(f"`rounds` must be at least 1. Got {rounds}.")
    world = TabularEnv(env, config)
    begin = _check_starts(starts, world)
    values = np.zeros((world.states, world.actions))
    for _ in range(rounds):
        policy = greedy_policy(values)
        values = np.zeros_like(values)
        for state in begin:
            for action in range(world.actions):
                for number in range(1, config.episodes + 1):
                    episode = _episode(world, policy, first=(state, action))
                    total = _returns(episode, config)[0]
                    values[state, action] += (total - values[state, action]) / number
        if watch is not None:
            watch(world.steps, values)
    return world.learned(values)


def monte_carlo_exploring_starts(
    env: gymnasium.Env[Any, Any],
    config: TabularConfig,
    *,
    tail: int,
    starts: Sequence[int] | None = None,
    watch: Watch | None = None,
) -> Learned:
    """Every episode begins with a random action in a random state, then follows the greedy policy.

    It learns from all states and actions that an episode comes by, at their first visit, and
    improves the policy after each episode (Zhao, 2025, sec. 5.3; Sutton and Barto, 2018, sec. 5.3).

    What people get wrong: the mean over all episodes (``step_size=1, power=1``) never forgets the
    returns of the poor policies of the beginning. Without chance in the world, the last return
    alone (``step_size=1, power=0``) is right much sooner.

    Args:
        env: Must begin in the state of ``reset(options={"state": s})``.
        config: Episodes, their length, and how entries move towards returns.
        tail: Last steps of an episode cut short whose returns are not learnt from, at least 0.
        starts: States to begin in, as in `monte_carlo_basic`.
        watch: Sees the table after each episode.

    Raises:
        InputError: If ``tail`` is not 0 to below the length, ``starts`` are no states, or the
            environment is not one of numbers, cannot begin in a given state, or pays what is not
            finite.
    """
    _check_tail(tail, config)
    world = TabularEnv(env, config)
    begin = _check_starts(starts, world)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        number, action = world.random.integers((len(begin), world.actions))
        first = begin[number], int(action)
        episode = _episode(world, greedy_policy(values), first=first)
        _learn(values, visits, episode, config, tail)
        if watch is not None:
            watch(world.steps, values)
    return world.learned(values)


def monte_carlo_epsilon_greedy(
    env: gymnasium.Env[Any, Any],
    config: TabularConfig,
    *,
    tail: int,
    watch: Watch | None = None,
) -> Learned:
    r"""Every episode follows the :math:`\epsilon`-greedy policy of the table.

    No special starts are needed: in a long episode every action comes up (Zhao, 2025, sec. 5.4;
    Sutton and Barto, 2018, sec. 5.4).

    What people get wrong: where it converges, it finds the best of the :math:`\epsilon`-greedy
    policies, and what an action is worth if one goes on so: ``action_values(process, v)`` with the
    optimal values v of ``process.soft(epsilon)``, not the optimal ones. Near what is forbidden,
    they are lower by far, and even the greedy action can be another.

    Args:
        env: Any environment of numbers.
        config: Episodes, their length, exploration, and how entries move towards returns.
        tail: Last steps of an episode cut short whose returns are not learnt from, at least 0.
        watch: Sees the table after each episode.

    Raises:
        InputError: If ``tail`` is not 0 to below the length, or the environment is not one of
            numbers or pays what is not finite.
    """
    _check_tail(tail, config)
    world = TabularEnv(env, config)
    values = np.zeros((world.states, world.actions))
    visits = np.zeros(values.shape)
    for _ in range(config.episodes):
        policy = epsilon_greedy_policy(values, epsilon=world.epsilon)
        _learn(values, visits, list(world.follow(policy)), config, tail)
        if watch is not None:
            watch(world.steps, values)
    return world.learned(values)


def _episode(
    world: TabularEnv, policy: Float64[np.ndarray, "state action"], *, first: tuple[int, int]
) -> list[Transition]:
    """Return an episode that begins with a given state and action and goes on by a policy."""
    forced = policy.copy()
    forced[first[0]] = np.eye(world.actions)[first[1]]
    episode = []
    for step in world.follow(forced, state=first[0]):
        forced[first[0]] = policy[first[0]]  # only the first time
        episode.append(step)
    return episode


def _learn(
    values: Float64[np.ndarray, "state action"],
    visits: Float64[np.ndarray, "state action"],
    episode: Sequence[Transition],
    config: TabularConfig,
    tail: int,
) -> None:
    """Move the entry of each first visit towards the return that followed it."""
    counted = len(episode) if episode[-1].terminated else len(episode) - tail
    seen: set[tuple[int, int]] = set()
    for step, total in zip(episode[:counted], _returns(episode, config), strict=False):
        place = step.state, step.action
        if place not in seen:
            seen.add(place)
            visits[place] += 1
            values[place] += config.size(visits[place]) * (total - values[place])


def _returns(episode: Sequence[Transition], config: TabularConfig) -> list[float]:
    """Return the return of each step."""
    return totals([step.reward for step in episode], discount=config.discount)


def _check_starts(starts: Sequence[int] | None, world: TabularEnv) -> list[int]:
    begin = list(range(world.states) if starts is None else starts)
    if not begin or not set(begin) <= set(range(world.states)):
        raise InputError(
            f"`starts` must be states, 0 to {world.states - 1}, and at least one. Got {begin}."
        )
    return begin


def _check_tail(tail: int, config: TabularConfig) -> None:
    if not 0 <= tail < config.length:
        raise InputError(
            f"`tail` must be at least 0 and below the length of episodes, {config.length}. "
            f"Got {tail}."
        )
