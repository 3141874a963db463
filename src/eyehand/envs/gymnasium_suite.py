"""A suite from any Gymnasium environments: adds sentence, pictures, state, actions in [-1, 1].

    SUITE = gymnasium_suite(
        "cart",
        make=partial(gymnasium.make, render_mode="rgb_array"),
        tasks={"CartPole-v1": Instructions("Balance the pole")},
        fps=50,
        max_steps=500,
    )

Every verb takes it as ``--suite my_module:SUITE``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import Picture, Quality, RobotEnv
from eyehand.envs.suite import Quantity, Suite
from eyehand.types import InputError

CAMERA = "render"
"""The one camera: what the environment renders."""
Make = Callable[[str], gymnasium.Env[Any, Any]]
"""Makes the environment of a task, with ``render_mode="rgb_array"``."""


def said_success(info: Mapping[str, Any]) -> bool:
    """Return the success in ``info`` under either of the usual names; False if there is none.

    Example:
        >>> said_success({"is_success": 1.0}), said_success({})
        (True, False)
    """
    return bool(info.get("success", info.get("is_success", False)))


class GymnasiumEnv(RobotEnv):
    """A Gymnasium environment that keeps the contract of suites.

    The state is the flattened observation, one-hot where that is discrete. A Box of actions is
    scaled to [-1, 1]. Each discrete action has one number, and the one with the largest is done.

    Args:
        task: Passed to ``make``.
        make: Makes the environment; a function that can be imported by name.
        instruction: The task's sentence.
        fps: Steps in one second.
        max_steps: Length of an episode that is not terminated.
        success: Reads success off ``info``.
        cameras: Height and width of the picture ``render``, pixels.
        quality: Ignored: there is one.
        render_observations: Whether observations hold the picture.

    Raises:
        InputError: If actions are neither a bounded Box nor discrete.
    """

    def __init__(
        self,
        task: str,
        *,
        make: Make,
        instruction: str,
        fps: int,
        max_steps: int,
        success: Callable[[Mapping[str, Any]], bool] = said_success,
        cameras: Mapping[str, int],
        quality: Quality = "fast",
        render_observations: bool = True,
    ) -> None:
        self._env, self._success, self._most, self._steps = make(task), success, max_steps, 0
        actions = self._env.action_space
        if isinstance(actions, gymnasium.spaces.Box) and actions.is_bounded():
            action_dim = int(np.prod(actions.shape))
        elif isinstance(actions, gymnasium.spaces.Discrete):
            action_dim = int(actions.n)
        else:
            raise InputError(
                f"the actions of {task!r} must be a bounded Box or discrete: {actions}."
            )
        super().__init__(
            task,
            instruction=instruction,
            cameras=cameras,
            state_dim=gymnasium.spaces.flatdim(self._env.observation_space),
            action_dim=action_dim,
            fps=fps,
            render_observations=render_observations,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; without one, of a random seed."""
        found, info = self._env.reset(seed=self.seed_of_episode(seed), options=options)
        self._steps = 0
        return self.observation(self._state(found)), {**info, "success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action of [-1, 1]; a success ends the episode."""
        theirs = self._action(self.checked_action(action))
        found, reward, terminated, truncated, info = self._env.step(theirs)
        self._steps += 1
        success = self._success(info)
        terminated = bool(terminated) or success
        truncated = not terminated and (bool(truncated) or self._steps >= self._most)
        info = {**info, "success": success}
        return self.observation(self._state(found)), float(reward), terminated, truncated, info

    def picture(self, camera: str, *, size: int, quality: Quality | None = None) -> Picture:
        """Return what the environment renders, scaled to a square."""
        drawn = self._env.render() if self._env.render_mode == "rgb_array" else None
        if not isinstance(drawn, np.ndarray):
            raise InputError(
                f'{self.task!r} gives no picture: make it with render_mode="rgb_array".'
            )
        scaled = Image.fromarray(drawn).resize((size, size), Image.Resampling.BOX)
        return np.asarray(scaled, np.uint8).copy()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _state(self, found: Any) -> np.ndarray:
        return np.asarray(gymnasium.spaces.flatten(self._env.observation_space, found))

    def _action(self, action: np.ndarray) -> Any:
        space = self._env.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return int(space.start + action.argmax())
        assert isinstance(space, gymnasium.spaces.Box)
        scaled = space.low + (action.reshape(space.shape) + 1) / 2 * (space.high - space.low)
        return scaled.astype(space.dtype)


def _make(
    task: str, *, make: Make, sentences: Mapping[str, Instructions], **settings: Any
) -> GymnasiumEnv:
    return GymnasiumEnv(task, make=make, instruction=sentences[task].canonical, **settings)


def gymnasium_suite(
    name: str,
    *,
    make: Make,
    tasks: Mapping[str, Instructions],
    fps: int,
    max_steps: int,
    success: Callable[[Mapping[str, Any]], bool] = said_success,
) -> Suite:
    """Return Gymnasium environments as a suite; the first is made once, to read its spaces.

    Args:
        name: Name of the suite in results.
        make: Makes the environment of a task, with ``render_mode="rgb_array"``. Workers call it, so
            it is a function that can be imported by name, or a `functools.partial` of one.
        tasks: Sentences by task; all tasks have the same spaces.
        fps: Steps in one second.
        max_steps: Length of an episode that is not terminated.
        success: Reads success off ``info``.
    """
    settings: dict[str, Any] = {"fps": fps, "max_steps": max_steps, "success": success}
    made: Callable[..., GymnasiumEnv] = partial(_make, make=make, sentences=dict(tasks), **settings)
    first = made(next(iter(tasks)), cameras={CAMERA: 1}, render_observations=False)
    state_dim = gymnasium.spaces.flatdim(first._env.observation_space)
    action_dim = first.action_dim
    first.close()
    return Suite(
        name=name,
        protocol=f"{name}-v1",
        groups={name: tuple(tasks)},
        score="success",
        sentences=dict(tasks).__getitem__,
        cameras=(CAMERA,),
        view=CAMERA,
        state=tuple(Quantity(f"state {number}", "") for number in range(state_dim)),
        action=tuple(Quantity(f"action {number}", "") for number in range(action_dim)),
        fps=fps,
        max_steps=max_steps,
        make=made,
        packages=("gymnasium",),
    )
