"""Two ways: reach a goal past an obstacle, left or right, where the mean of both is a collision.

Demonstrations go around either side with equal probability, and nothing that a policy may see at
the start says which. So the task tells action heads apart: one that regresses the mean of the
demonstrations drives into the obstacle, a generative one takes a side and arrives. (Push-T has such
a choice, too: Chi et al., 2023, https://arxiv.org/abs/2303.04137.) All is numpy, nothing OpenGL.

A regressing policy that plans anew at every step may still come free, because off the middle its
place says which side is nearer. Four things make that rare: the obstacle is hardly beside the line
from start to goal, the two ways part at once, they pass with little room to spare, and few steps
are left before the obstacle. Plan rarely to see the difference whole.

The square is 2 wide, x to the right and y up, its middle (0, 0). An action is three numbers: the
velocity in x and y, and a gripper that does nothing, because action heads take the last to be one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from eyehand.envs.instructions import Instructions
from eyehand.types import Actor, Episode, InputError, Observation

TASK = "two-ways"
"""Name of the task in recordings."""
INSTRUCTIONS = Instructions(
    canonical="Go to the green disc",
    training=("Move to the green disc", "Drive to the green circle", "Reach the green disc"),
    held_out=("Travel to the green spot",),
)
"""The sentences; none says which way."""
FPS = 10
"""Control steps in one second."""
STATE_DIM = 2
"""The robot's x and y."""
ACTION_DIM = 3
"""Velocity in x and y (1 is ``SPEED`` a step), then a gripper that does nothing."""
MAX_STEPS = 50
"""Length of an episode that neither arrives nor hits; the expert needs less than half of it."""
CAMERA = "top"
"""The only camera: the whole square from above."""
SPEED = 0.1
"""Distance that an action of 1 moves the robot along an axis."""
ROBOT_RADIUS, OBSTACLE_RADIUS, GOAL_RADIUS = 0.06, 0.34, 0.1
"""Sizes of the discs. The robot hits if it overlaps the obstacle, and arrives if its middle is on
the goal."""
BERTH = 0.52
"""Distance between the middles of robot and obstacle at which the expert means to pass."""
LOOK_AHEAD = 0.1
"""How far ahead on its arch the expert aims, as a fraction of the way from start to goal."""
FLOOR, ROBOT, OBSTACLE, GOAL = (
    np.array(colour, np.float32)
    for colour in ((235, 235, 235), (40, 80, 220), (60, 60, 60), (40, 170, 70))
)
"""Colours, 0-255."""


class TwoWaysEnv(gymnasium.Env[dict[str, Any], Float32[np.ndarray, "3"]]):
    """Drive a disc past an obstacle to a goal, behind Gymnasium's contract.

    ``reset(seed=...)`` alone decides the places and the side that the expert takes; the side is
    drawn on its own, so neither the picture nor the state tells it. An episode is terminated when
    the robot arrives (``info["success"]``) and also when it hits the obstacle (``info["hit"]``):
    here ``terminated`` alone is no success.

    Args:
        image_size: Height and width of the picture, pixels.

    Example:
        >>> env = TwoWaysEnv(image_size=32)
        >>> observation, _ = env.reset(seed=0)
        >>> observation["image"]["top"].shape, observation["state"].shape
        ((32, 32, 3), (2,))
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (declared thus by gymnasium)
        "render_modes": ["rgb_array"],
        "render_fps": FPS,
    }
    render_mode = "rgb_array"

    start: np.ndarray
    """Where the robot starts."""
    robot: np.ndarray
    """Where it is. This and the places below are for experts and plots, not for policies."""
    goal: np.ndarray
    obstacle: np.ndarray
    """Middles of the two discs."""
    side: int
    """The side on which the expert passes: -1 left, 1 right."""

    def __init__(self, *, image_size: int = 96) -> None:
        self.instruction = INSTRUCTIONS.canonical
        self._image_size = image_size
        self._over = True
        picture = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({
            "image": gymnasium.spaces.Dict({CAMERA: picture}),
            "state": gymnasium.spaces.Box(-1, 1, (STATE_DIM,), np.float32),
            "instruction": gymnasium.spaces.Text(200, charset=frozenset(map(chr, range(32, 127)))),
        })  # fmt: skip
        self.action_space = gymnasium.spaces.Box(-1, 1, (ACTION_DIM,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode that ``seed`` names; without a seed, one that chance decides."""
        super().reset(seed=seed)
        random = self.np_random
        self.start = np.array([0, -0.8]) + random.uniform(-1, 1, 2) * (0.1, 0.05)
        self.goal = np.array([0, 0.8]) + random.uniform(-1, 1, 2) * (0.1, 0.05)
        self.obstacle = (self.start + self.goal) / 2 + random.uniform(-1, 1, 2) * (0.01, 0.03)
        self.side = 1 if random.random() < 0.5 else -1
        self.robot = self.start
        self._steps, self._over = 0, False
        return self._observation(), {"success": False, "hit": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action: three numbers, clipped to [-1, 1]. The square's edges stop the robot.

        Returns:
            Observation, reward (1 on arrival, else 0), terminated (arrived or hit), truncated
            (``MAX_STEPS`` without either), and ``{"success": bool, "hit": bool}``.

        Raises:
            InputError: If the action is not three finite numbers.
            RuntimeError: If no episode has begun, or it is over.
        """
        self._check_episode()
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (ACTION_DIM,):
            raise InputError(f"an action is {ACTION_DIM} numbers. Got the shape {action.shape}.")
        if not np.isfinite(action).all():
            raise InputError(f"an action is finite numbers. Got {action.tolist()}.")
        self.robot = np.clip(self.robot + SPEED * np.clip(action[:2], -1, 1), -1, 1)
        self._steps += 1
        success = _distance(self.robot, self.goal) < GOAL_RADIUS
        hit = _distance(self.robot, self.obstacle) < ROBOT_RADIUS + OBSTACLE_RADIUS
        terminated = success or hit
        truncated = self._steps == MAX_STEPS and not terminated
        self._over = terminated or truncated
        info = {"success": success, "hit": hit}
        return self._observation(), float(success), terminated, truncated, info

    def expert_action(self) -> Float32[np.ndarray, "3"]:
        """Return what the expert would do now: follow an arch over one side of the obstacle.

        The arch is half a period of a sine from start to goal, so the two ways part at once; the
        expert returns to it from wherever the robot is.

        Raises:
            RuntimeError: If no episode has begun, or it is over.
        """
        self._check_episode()
        way = self.goal - self.start
        right = np.array([way[1], -way[0]]) / _distance(self.goal, self.start)
        done = np.clip((self.robot - self.start) @ way / (way @ way), 0, 1)
        ahead = min(done + LOOK_AHEAD, 1.0)
        height = (self.obstacle - self.start) @ right + self.side * BERTH
        aim = self.start + ahead * way + np.sin(np.pi * ahead) * height * right
        velocity = (aim - self.robot) / SPEED
        velocity /= max(1.0, float(np.hypot(*velocity)))
        return np.array([*velocity, 0], np.float32)

    def render(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return the picture of the present state."""
        picture = np.full((self._image_size, self._image_size, 3), FLOOR)
        _draw_disc(picture, self.goal, GOAL_RADIUS, GOAL)
        _draw_disc(picture, self.obstacle, OBSTACLE_RADIUS, OBSTACLE)
        _draw_disc(picture, self.robot, ROBOT_RADIUS, ROBOT)
        return np.rint(picture).astype(np.uint8)

    def _check_episode(self) -> None:
        if self._over:
            raise RuntimeError(f"the episode of {TASK!r} is over; call `reset` to begin one.")

    def _observation(self) -> dict[str, Any]:
        return {
            "image": {CAMERA: self.render()},
            "state": self.robot.astype(np.float32),
            "instruction": self.instruction,
        }


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.hypot(*(one - two)))


def _draw_disc(picture: np.ndarray, middle: np.ndarray, radius: float, colour: np.ndarray) -> None:
    """Draw a disc into a picture; its rim is blended over one pixel."""
    scale = len(picture) / 2
    column, row = (1 + middle[0]) * scale - 0.5, (1 - middle[1]) * scale - 0.5
    reach = radius * scale + 0.5
    first_row, first_column = (max(0, int(place - reach)) for place in (row, column))
    part = picture[first_row : int(row + reach) + 1, first_column : int(column + reach) + 1]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    distance = np.hypot(rows + (first_row - row), columns + (first_column - column))
    cover = np.clip(reach - distance, 0, 1)[..., None].astype(np.float32)
    part += cover * (colour - part)


def demonstration(seed: int, *, image_size: int = 96) -> Episode:
    """Return the expert's episode from one start state.

    Args:
        seed: The start state, and the side that the expert takes.
        image_size: Height and width of the pictures, pixels.

    Example:
        >>> episode = demonstration(0, image_size=16)
        >>> episode.action.shape == (len(episode.state), 3)
        True
    """
    env = TwoWaysEnv(image_size=image_size)
    observation, _ = env.reset(seed=seed)
    pictures, states, actions = [], [], []
    while not env._over:
        pictures.append(observation["image"][CAMERA])
        states.append(observation["state"])
        actions.append(env.expert_action())
        observation, *_, info = env.step(actions[-1])
    assert info["success"], f"the expert failed at seed {seed}"
    return Episode(
        image={CAMERA: np.stack(pictures)},
        state=np.stack(states),
        action=np.stack(actions),
        instruction=env.instruction,
        task=TASK,
        seed=seed,
    )


@dataclass(frozen=True)
class Drive:
    """How an episode went."""

    seed: int
    success: bool
    """Whether the robot arrived."""
    hit: bool
    """Whether it hit the obstacle; if neither, its time ran out."""
    path: Float[np.ndarray, "time 2"]
    """Where it was, from the start to after the last action."""


@torch.inference_mode()
def roll_out(
    policy: Actor, seeds: Sequence[int], *, steps: int = 4, image_size: int = 96
) -> list[Drive]:
    """Run one episode from every seed; each call of the policy plans for all that are not over.

    Args:
        policy: Anything with ``act`` and ``reset``; ``env_ids`` are places among ``seeds``.
        seeds: The start states; the drives are returned in their order.
        steps: Actions executed before the policy plans anew, at least 1.
        image_size: Height and width of the pictures, pixels.

    Raises:
        InputError: If ``steps`` is below 1, or the policy's chunks are shorter than ``steps`` or
            not of three finite numbers an action.
    """
    if steps < 1:
        raise InputError(f"`steps` must be at least 1. Got {steps}.")
    envs = [TwoWaysEnv(image_size=image_size) for _ in seeds]
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    infos: list[dict[str, Any]] = [{} for _ in seeds]
    paths = [[env.robot] for env in envs]
    live = list(range(len(envs)))
    policy.reset(live)
    while live:
        now = [seen[index] for index in live]
        pictures = torch.from_numpy(np.stack([one["image"][CAMERA] for one in now]))
        states = torch.from_numpy(np.stack([one["state"] for one in now]))
        sentences = [one["instruction"] for one in now]
        chunks = policy.act(Observation({CAMERA: pictures}, states, sentences, env_ids=live))
        if chunks.shape[1] < steps:
            raise InputError(f"the policy plans {chunks.shape[1]} actions; `steps` is {steps}.")
        for index, chunk in zip(live, chunks.to("cpu", torch.float32).numpy(), strict=True):
            for action in chunk[:steps]:
                seen[index], *_, infos[index] = envs[index].step(action)
                paths[index].append(envs[index].robot)
                if envs[index]._over:
                    break
        live = [index for index in live if not envs[index]._over]
    return [
        Drive(seed, success=info["success"], hit=info["hit"], path=np.stack(path))
        for seed, info, path in zip(seeds, infos, paths, strict=True)
    ]
