"""Replays: an episode's start and actions give every moment of it again, bit for bit.

The simulators are deterministic, so a start and the executed actions are enough to store an
episode. Films, data sets and recordings are made from them later, with the pictures they need.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from eyehand.envs.robot_env import RobotEnv


@dataclass(frozen=True)
class Moment:
    """One moment of a replayed episode; pictures of it are drawn by the environment."""

    step: int
    """Actions executed so far."""
    observation: dict[str, Any]
    action: Float32[np.ndarray, " action"] | None
    """What is executed next; None at the end."""
    success: bool
    """Whether the task has been solved by now."""
    ended: bool
    """Whether the environment says that the episode is over."""


def replay(
    env: RobotEnv, seed: int, actions: Sequence[Float32[np.ndarray, " action"]]
) -> Iterator[Moment]:
    """Yield every moment of an episode: before each action, and after the last.

    If the episode ends before the last action, the remaining actions are left out.

    Args:
        env: The environment of the episode's task.
        seed: Of the start state.
        actions: What was executed.
    """
    observation, _ = env.reset(seed=seed)
    success = ended = False
    step = 0
    while step < len(actions) and not ended:
        yield Moment(step, observation, actions[step], success, ended)
        observation, _, terminated, truncated, info = env.step(actions[step])
        success, ended = success or bool(info["success"]), terminated or truncated
        step += 1
    yield Moment(step, observation, None, success, ended)
