"""Two ways: reach a goal past an obstacle on the left or the right; the mean of both collides.

Demonstrations pass on either side with equal probability, and the observation at the start does
not say on which. This separates action heads: one that regresses the mean of the demonstrations
drives into the obstacle, a generative one chooses a side and arrives. (Push-T has such a choice,
too: Chi et al., 2023, https://arxiv.org/abs/2303.04137.) It needs numpy only, no OpenGL.

A regressing policy that plans again at every step may still get past, because once it is off the
middle, its position says which side is nearer. Four things make that rare: the obstacle is close
to the line from start to goal, the two ways part at once, they pass close to the obstacle, and
few steps are left before it. The difference is largest when the policy plans rarely.

The square is 2 wide, x to the right and y up, its middle (0, 0). An action is two numbers, the
velocity in x and y; there is no gripper.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import Quality, RobotEnv
from eyehand.envs.suite import Quantity, Suite

TASK = "two-ways"
"""Name of the task."""
INSTRUCTIONS = Instructions(
    canonical="Go to the green disc",
    training=("Move to the green disc", "Drive to the green circle", "Reach the green disc"),
    held_out=("Travel to the green spot",),
)
"""The sentences; none names a side."""
MAX_STEPS = 50
"""Longest episode; the expert needs less than half of it."""
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


class TwoWaysEnv(RobotEnv):
    """Drive a disc past an obstacle to a goal.

    ``reset(seed=...)`` alone decides the places and the side that the expert takes; the side is
    drawn on its own, so neither the picture nor the state tells it. An episode is terminated when
    the robot arrives (``info["success"]``) and also when it hits the obstacle (``info["hit"]``):
    here ``terminated`` alone does not mean success.

    Args:
        task: Always ``two-ways``.
        cameras: Height and width of the picture ``top``, pixels.
        quality: Ignored: there is one.
        render_observations: Whether observations hold the picture.

    Raises:
        InputError: If there is no such task or camera.

    Example:
        >>> env = TwoWaysEnv(cameras={"top": 32})
        >>> observation, _ = env.reset(seed=0)
        >>> observation["image"]["top"].shape, observation["state"].shape
        ((32, 32, 3), (2,))
    """

    start: np.ndarray
    """Where the robot starts."""
    robot: np.ndarray
    """Where it is now. This and the places below are for experts and plots, not for policies."""
    goal: np.ndarray
    obstacle: np.ndarray
    """Middles of the two discs."""
    side: int
    """The side on which the expert passes: -1 left, 1 right."""

    def __init__(
        self,
        task: str = TASK,
        *,
        cameras: Mapping[str, int] = MappingProxyType({CAMERA: 96}),
        quality: Quality = "fast",
        render_observations: bool = True,
    ) -> None:
        TWO_WAYS.check_task(task)
        TWO_WAYS.check_cameras(cameras)
        super().__init__(
            task,
            instruction=INSTRUCTIONS.canonical,
            cameras=cameras,
            state_dim=len(TWO_WAYS.state),
            action_dim=len(TWO_WAYS.action),
            fps=TWO_WAYS.fps,
            render_observations=render_observations,
        )
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; without one, of a random seed."""
        self.seed_of_episode(seed)
        random = self.np_random
        self.start = np.array([0, -0.8]) + random.uniform(-1, 1, 2) * (0.1, 0.05)
        self.goal = np.array([0, 0.8]) + random.uniform(-1, 1, 2) * (0.1, 0.05)
        self.obstacle = (self.start + self.goal) / 2 + random.uniform(-1, 1, 2) * (0.01, 0.03)
        self.side = 1 if random.random() < 0.5 else -1
        self.robot = self.start
        self._steps, self._over = 0, False
        return self.observation(self.robot), {"success": False, "hit": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action: two numbers, clipped to [-1, 1]. The square's edges stop the robot.

        Returns:
            Observation, reward (1 on arrival, else 0), terminated (arrived or hit), truncated
            (``MAX_STEPS`` without either), and ``{"success": bool, "hit": bool}``.

        Raises:
            InputError: If the action is not two finite numbers.
            RuntimeError: If no episode has begun, or it is over.
        """
        self._check_episode()
        self.robot = np.clip(self.robot + SPEED * self.checked_action(action), -1, 1)
        self._steps += 1
        success = _distance(self.robot, self.goal) < GOAL_RADIUS
        hit = _distance(self.robot, self.obstacle) < ROBOT_RADIUS + OBSTACLE_RADIUS
        terminated = success or hit
        truncated = self._steps == MAX_STEPS and not terminated
        self._over = terminated or truncated
        info = {"success": success, "hit": hit}
        return self.observation(self.robot), float(success), terminated, truncated, info

    def expert_action(self) -> Float32[np.ndarray, "2"]:
        """Return the expert's action: it follows an arch past the obstacle on one side.

        The arch is half a period of a sine from start to goal, so the two ways part at once; from
        any other place the expert returns to it.

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
        return velocity.astype(np.float32)

    def picture(
        self, camera: str, *, size: int, quality: Quality | None = None
    ) -> UInt8[np.ndarray, "size size 3"]:
        """Return the picture of the present state."""
        picture = np.full((size, size, 3), FLOOR)
        _draw_disc(picture, self.goal, GOAL_RADIUS, GOAL)
        _draw_disc(picture, self.obstacle, OBSTACLE_RADIUS, OBSTACLE)
        _draw_disc(picture, self.robot, ROBOT_RADIUS, ROBOT)
        return np.rint(picture).astype(np.uint8)

    def _check_episode(self) -> None:
        if self._over:
            raise RuntimeError(f"the episode of {TASK!r} is over; call `reset` to begin one.")


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


def _sentences(task: str) -> Instructions:
    return INSTRUCTIONS


TWO_WAYS = Suite(
    name="two-ways",
    protocol="two-ways-v2",
    groups={"two-ways": (TASK,)},
    score="success",
    sentences=_sentences,
    cameras=(CAMERA,),
    view=CAMERA,
    state=(Quantity("x", "half of the square"), Quantity("y", "half of the square")),
    action=(Quantity("x", "0.1 a step"), Quantity("y", "0.1 a step")),
    fps=10,
    max_steps=MAX_STEPS,
    make=TwoWaysEnv,
)
"""Two ways as a suite. Version 2: an action has two numbers, no gripper."""
