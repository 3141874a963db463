"""The battery that every environment passes: the contract of HOUSE, run instead of read.

The list of properties is that of dm_control's test suite (Tassa et al., 2018,
https://arxiv.org/abs/1801.00690), with start states that do not depend on earlier episodes added.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np

STEPS = 6
"""Length of the short episodes that are run."""


def check_env(
    env: gymnasium.Env[dict[str, Any], np.ndarray],
    *,
    solve: Callable[[], np.ndarray] | None = None,
    max_steps: int = 500,
) -> None:
    """Raise ``AssertionError`` with a sentence if an environment breaks the contract.

    Checked are: the observation is in its space and is images, a state and a sentence; actions are
    in [-1, 1]; the same seed gives the same episode, other seeds other starts; observations share
    no memory; no picture is constant; everything is finite; success and the time limit are two
    flags; and an episode is the same after a fresh start, a partial episode, a failure and a
    success.

    Args:
        env: The environment, which stays open.
        solve: Returns the next action of an expert; with it the start after a success is checked.
        max_steps: Length of an episode without success.
    """
    _check_spaces(env)
    seeds = (0, 1)
    fresh = [_episode(env, seed) for seed in seeds]
    first, other = fresh
    _check_observations(env, first)
    assert not _same(first[:1], other[:1]), "two seeds give the same start."
    assert _same(first, _episode(env, seeds[0])), "the same seed gives two different episodes."
    _end(env, lambda: np.ones(env.action_space.shape or (), np.float32), max_steps)
    assert _same(first, _episode(env, seeds[0])), "a failed episode changes the next one."
    if solve is not None:
        env.reset(seed=seeds[1])
        solved = _end(env, solve, max_steps)
        assert solved, "the expert did not solve the task, so the start after it is not checked."
        assert _same(first, _episode(env, seeds[0])), "a solved episode changes the next one."


def _check_spaces(env: gymnasium.Env[dict[str, Any], np.ndarray]) -> None:
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box), f"actions are a Box. Got {space}."
    assert space.dtype == np.float32, f"actions are float32. Got {space.dtype}."
    assert (space.low == -1).all(), f"actions begin at -1. Got {space.low}."
    assert (space.high == 1).all(), f"actions end at 1. Got {space.high}."
    assert isinstance(env.observation_space, gymnasium.spaces.Dict), (
        f"observations are a Dict. Got {env.observation_space}."
    )
    names = set(env.observation_space.spaces)
    assert names == {"image", "state", "instruction"}, (
        f"observations are image, state, instruction. Got {sorted(names)}."
    )


def _check_observations(
    env: gymnasium.Env[dict[str, Any], np.ndarray], observations: Sequence[dict[str, Any]]
) -> None:
    for observation in observations:
        assert np.isfinite(observation["state"]).all(), f"not finite: {observation['state']}."
        assert env.observation_space.contains(observation), "an observation is not in its space."
        for camera, picture in observation["image"].items():
            assert picture.std() > 0, f"the picture of {camera!r} is constant."
    for earlier, later in pairwise(observations):
        for one, two in zip(_arrays(earlier), _arrays(later), strict=True):
            assert not np.shares_memory(one, two), "two observations share memory."
    states = [observation["state"] for observation in observations]
    assert not all(np.array_equal(states[0], state) for state in states), "the state never changes."


def _episode(
    env: gymnasium.Env[dict[str, Any], np.ndarray], seed: int, steps: int = STEPS
) -> list[dict[str, Any]]:
    """Return the observations of the first steps under fixed random actions."""
    random = np.random.default_rng(0)
    observation, _ = env.reset(seed=seed)
    observations = [observation]
    for _ in range(steps):
        action = random.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        assert np.isfinite(float(reward)), f"the reward is not finite: {reward}."
        assert isinstance(info["success"], bool), f"`success` is a bool. Got {info['success']!r}."
        assert not (terminated and truncated), "an episode is both terminated and truncated."
        assert terminated or not info["success"], "a success does not end the episode."
        observations.append(observation)
        if terminated or truncated:
            break
    return observations


def _end(
    env: gymnasium.Env[dict[str, Any], np.ndarray], act: Callable[[], np.ndarray], max_steps: int
) -> bool:
    """Run the present episode to its end; return whether it was solved."""
    for _ in range(max_steps):
        *_, terminated, truncated, info = env.step(act())
        if terminated or truncated:
            return bool(info["success"])
    raise AssertionError(f"the episode goes on after {max_steps} steps.")


def _arrays(observation: dict[str, Any]) -> list[np.ndarray]:
    return [observation["state"], *observation["image"].values()]


def _same(one: Sequence[dict[str, Any]], two: Sequence[dict[str, Any]]) -> bool:
    """Whether two episodes are equal bit for bit, pictures included."""
    return len(one) == len(two) and all(
        a["instruction"] == b["instruction"]
        and all(np.array_equal(x, y) for x, y in zip(_arrays(a), _arrays(b), strict=True))
        for a, b in zip(one, two, strict=True)
    )
