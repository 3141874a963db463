"""Tests that every environment and every suite must pass: their contracts as code.

The list of properties is that of dm_control's test suite (Tassa et al., 2018,
https://arxiv.org/abs/1801.00690), with start states that do not depend on earlier episodes added.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import torch

from eyehand.envs.robot_env import Chained, Landmarks, RobotEnv
from eyehand.envs.suite import Suite
from eyehand.types import Environments

STEPS = 6
"""Length of the short episodes that are run."""


def check_env(
    env: gymnasium.Env[Any, Any],
    *,
    solve: Callable[[], Any] | None = None,
    max_steps: int = 500,
) -> None:
    """Raise ``AssertionError`` with a sentence if an environment breaks Gymnasium's contract.

    Any spaces are allowed. Checked are: observations are in their space and share no memory;
    everything is finite; an episode is terminated or truncated, not both; the same seed gives the
    same episode, other seeds other starts; and an episode is the same after a fresh start, a
    partial episode, a failure and a success.

    Args:
        env: The environment, which stays open.
        solve: Returns the next action of an expert; with it, the start after a success is checked.
        max_steps: Steps after which an episode must have ended.
    """
    seeds = (0, 1)
    first, other = (_episode(env, seed) for seed in seeds)
    for observation in first:
        assert env.observation_space.contains(observation), "an observation is not in its space."
    for earlier, later in pairwise(first):
        for one, two in zip(_arrays(earlier), _arrays(later), strict=True):
            assert not np.shares_memory(one, two), "two observations share memory."
    assert not _same(first[:1], other[:1]), "two seeds give the same start."
    assert _same(first, _episode(env, seeds[0])), "the same seed gives two different episodes."
    env.action_space.seed(1)
    action = env.action_space.sample()
    _end(env, lambda: action, max_steps)
    assert _same(first, _episode(env, seeds[0])), "an episode to its end changes the next one."
    if solve is not None:
        env.reset(seed=seeds[1])
        solved = _end(env, solve, max_steps)
        assert solved, "the expert did not solve the task, so the start after it is not checked."
        assert _same(first, _episode(env, seeds[0])), "a solved episode changes the next one."


def check_environments(make: Callable[[], Environments], *, steps: int = 20) -> None:
    """Raise ``AssertionError`` with a sentence if environments side by side break their contract.

    Checked are: sizes, and that all is finite; the same seed begins the same episode, other seeds
    others; after half of the steps new environments with the state of the old ones go on as these
    do, to the bit; and no episode both ended and was cut short.

    Args:
        make: Makes the environments, two or more.
        steps: How many to take in all, at least 2.
    """
    one, other = make(), make()
    count = len(one)
    seen, again = (np.stack([made.begin(e, e) for e in range(count)]) for made in (one, other))
    assert count > 1, "two environments or more are needed to check them."
    assert _same([seen], [again]), "the same seed begins two different episodes."
    assert not _same([seen[0]], [seen[1]]), "two seeds begin the same episode."
    random = np.random.default_rng(0)
    for step in range(steps):
        if isinstance(one.action_space, gymnasium.spaces.Discrete):
            actions = torch.from_numpy(random.integers(one.action_space.n, size=count))
        else:
            dim = int(np.prod(one.action_space.shape))
            actions = torch.from_numpy(random.uniform(-1.5, 1.5, (count, dim)).astype(np.float32))
        if step == steps // 2:
            other = make()
            shown = other.load_state_dict(one.state_dict())
            assert _same([shown], [seen]), "what is restored is not what was seen."
        found = one.step(actions)
        if step >= steps // 2:
            assert _same(found, other.step(actions)), "what was restored goes on in another way."
        seen, reward, terminated, truncated = found
        assert seen.shape == (count, one.observation_dim), f"observations have shape {seen.shape}."
        assert np.isfinite(seen).all(), "an observation is not finite."
        assert np.isfinite(reward).all(), "a reward is not finite."
        assert not (terminated & truncated).any(), "an episode both ended and was cut short."
        if step >= steps // 2:
            same = [one.outcome(e) == other.outcome(e) for e in range(count)]
            assert all(same), "what was restored comes to something else."
        for e in (terminated | truncated).nonzero()[0]:
            seen[e] = one.begin(int(e), 100 + step)
            if step >= steps // 2:
                begun = other.begin(int(e), 100 + step)
                assert _same([seen[e]], [begun]), "what was restored begins in another way."
    one.close()
    other.close()


def check_robot_env(
    env: RobotEnv, *, solve: Callable[[], np.ndarray] | None = None, max_steps: int = 500
) -> None:
    """Raise ``AssertionError`` with a sentence if an environment cannot be used with a VLA.

    Checked are what `check_env` checks, and: observations are images, a state and a sentence;
    actions are in [-1, 1]; no picture is constant; the state changes; ``info["success"]`` is a
    bool, and a success ends the episode.
    """
    _check_spaces(env)
    check_env(env, solve=solve, max_steps=max_steps)
    observations = _episode(env, 0, check=_check_success)
    for observation in observations:
        for camera, picture in observation["image"].items():
            assert picture.std() > 0, f"the picture of {camera!r} is constant."
    states = [observation["state"] for observation in observations]
    assert not all(np.array_equal(states[0], state) for state in states), "the state never changes."
    for camera, picture in env.pictures().items():
        assert picture.shape == (env.cameras[camera],) * 2 + (3,), f"{camera!r} has another size."


def check_suite(suite: Suite) -> None:
    """Raise ``AssertionError`` with a sentence if a suite contradicts itself or its first task.

    Checked are: names are unique and known; scenes and sets contain tasks of the suite; every task
    has a sentence; the first task's environment has the suite's cameras, state, actions, time and
    landmarks; chains are equally long and can be told in one world, see `check_chained`.
    """
    assert len(set(suite.tasks)) == len(suite.tasks) > 0, (
        "a task is in two groups, or there is none."
    )
    for title, tasks in [*suite.sets.items(), *enumerate(suite.scenes)]:
        assert set(tasks) <= set(suite.tasks), f"{title!r} has a task that is in no group: {tasks}."
    told = [suite.instructions(task).canonical for task in suite.tasks]
    assert all(told), "a task has no sentence."
    for scene in suite.scenes:
        sentences = {suite.instructions(task).canonical for task in scene}
        assert len(sentences) == len(scene), f"tasks of one scene share a sentence: {scene}."
    assert suite.view in suite.cameras, f"the picture for people, {suite.view!r}, is not a camera."
    env = suite.make(suite.tasks[0], cameras=dict.fromkeys(suite.cameras, 32))
    try:
        observation, _ = env.reset(seed=0)
        assert set(observation["image"]) == set(suite.cameras), (
            "the pictures are not those of the cameras."
        )
        assert len(observation["state"]) == len(suite.state), "states have another length."
        assert env.action_dim == len(suite.action), "actions have another length."
        assert env.metadata["render_fps"] == suite.fps, (
            "the environment has another number of steps per second."
        )
        if suite.landmarks:
            assert isinstance(env, Landmarks), "there are no landmarks."
            assert env.landmarks().shape == (len(suite.landmarks), 3), (
                "the landmarks have another shape."
            )
    finally:
        env.close()
    if suite.chains:
        check_chained(suite)


def check_chained(suite: Suite) -> None:
    """Raise ``AssertionError`` with a sentence if a suite's chains cannot be told in one world.

    Checked are: every chain is there once, with equally many tasks of the suite, all different; and
    of the first chain, that another task has its own sentence and time, while the pictures stay as
    they are.
    """
    chains, length = suite.chains, len(suite.chains[0])
    assert len(set(chains)) == len(chains), "a chain is there twice."
    for chain in chains:
        assert set(chain) <= set(suite.tasks), f"a chain has a task that is in no group: {chain}."
        assert len(set(chain)) == len(chain) == length, (
            f"a chain must have {length} different tasks. Got {chain}."
        )
    first, second = chains[0][0], chains[0][-1]
    env = suite.make(first, cameras=dict.fromkeys(suite.cameras, 32))
    try:
        assert isinstance(env, Chained), "an environment cannot be told another task."
        still, ended = np.zeros(len(suite.action), np.float32), False
        observation, _ = env.reset(seed=0)
        while not ended:
            observation, *_, terminated, truncated, _ = env.step(still)
            ended = terminated or truncated
        env.begin_task(second)
        told = suite.instructions(second).canonical
        assert (env.task, env.instruction) == (second, told), "the task told is not the next one."
        assert _same([observation["image"]], [env.pictures()]), "a new task changes the pictures."
        observation, *_, truncated, _ = env.step(still)
        assert observation["instruction"] == told, "the next observation has the sentence before."
        assert not truncated, "a new task has no time of its own."
    finally:
        env.close()


def _check_spaces(env: RobotEnv) -> None:
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box), f"actions must be a Box. Got {space}."
    assert space.dtype == np.float32, f"actions must be float32. Got {space.dtype}."
    assert (space.low == -1).all(), f"actions must begin at -1. Got {space.low}."
    assert (space.high == 1).all(), f"actions must end at 1. Got {space.high}."
    assert isinstance(env.observation_space, gymnasium.spaces.Dict), (
        f"observations must be a Dict. Got {env.observation_space}."
    )
    names = set(env.observation_space.spaces)
    assert names == {"image", "state", "instruction"}, (
        f"observations must be image, state, instruction. Got {sorted(names)}."
    )


def _check_success(terminated: bool, info: Mapping[str, Any]) -> None:
    success = info.get("success")
    assert isinstance(success, bool), f"`success` must be a bool. Got {success!r}."
    assert terminated or not success, "a success does not end the episode."


def _episode(
    env: gymnasium.Env[Any, Any],
    seed: int,
    *,
    check: Callable[[bool, Mapping[str, Any]], None] = lambda terminated, info: None,
) -> list[Any]:
    """Return the observations of the first steps under fixed random actions."""
    env.action_space.seed(0)
    observation, _ = env.reset(seed=seed)
    observations = [observation]
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.isfinite(float(reward)), f"the reward is not finite: {reward}."
        assert not (terminated and truncated), "an episode is both terminated and truncated."
        check(terminated, info)
        observations.append(observation)
        if terminated or truncated:
            break
    for seen in observations:
        for array in _arrays(seen):
            assert np.isfinite(array).all(), f"an observation is not finite: {array}."
    return observations


def _end(env: gymnasium.Env[Any, Any], act: Callable[[], Any], max_steps: int) -> bool:
    """Run the present episode to its end; return whether it was solved."""
    for _ in range(max_steps):
        *_, terminated, truncated, info = env.step(act())
        if terminated or truncated:
            return bool(info.get("success", terminated))
    raise AssertionError(f"the episode goes on after {max_steps} steps.")


def _arrays(observation: Any) -> Iterator[np.ndarray]:
    """Yield the numbers of an observation of any space."""
    if isinstance(observation, Mapping):
        for part in observation.values():
            yield from _arrays(part)
    elif isinstance(observation, tuple | list):
        for part in observation:
            yield from _arrays(part)
    elif not isinstance(observation, str):
        yield np.asarray(observation)


def _same(one: Sequence[Any], two: Sequence[Any]) -> bool:
    """Whether two episodes are equal bit for bit, pictures included."""
    return len(one) == len(two) and all(
        np.array_equal(x, y)
        for a, b in zip(one, two, strict=True)
        for x, y in zip(_arrays(a), _arrays(b), strict=True)
    )
