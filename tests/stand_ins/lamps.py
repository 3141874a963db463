"""Six lamps in one scene, a task each: what tests of chains need of a simulator, and no more."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.suite import Quantity, Suite

TASKS = ("red", "green", "blue", "white", "black", "grey")
MAX_STEPS = 12


def sentences(task: str) -> Instructions:
    return Instructions(f"Switch on the {task} lamp")


class LampsEnv(RobotEnv):
    """Switches on the lamp of its task at an action above 0.5.

    The state is the seed and the number of actions since the reset; the picture shows that number.
    """

    made = 0

    def __init__(
        self,
        task: str,
        *,
        cameras: Mapping[str, int] = MappingProxyType({"top": 4}),
        quality: str = "fast",
        render_observations: bool = True,
    ) -> None:
        LAMPS.check_task(task)
        super().__init__(
            task,
            instruction=sentences(task).canonical,
            cameras=cameras,
            state_dim=2,
            action_dim=2,
            fps=10,
            render_observations=render_observations,
        )
        LampsEnv.made += 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.world = np.array([self.seed_of_episode(seed), 0.0])
        self.left = MAX_STEPS
        return self.observation(self.world), {"success": False}

    def begin_task(self, task: str) -> None:
        LAMPS.check_task(task)
        self.task, self.instruction, self.left = task, sentences(task).canonical, MAX_STEPS

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, Any]:
        success = bool(self.checked_action(action)[0] > 0.5)
        self.world = self.world + np.array([0, 1])
        self.left -= 1
        truncated = self.left == 0 and not success
        seen = self.observation(self.world)
        return seen, float(success), success, truncated, {"success": success}

    def picture(self, camera: str, *, size: int, quality: Any = None) -> np.ndarray:
        return np.full((size, size, 3), int(self.world[1]), np.uint8)


LAMPS = Suite(
    name="lamps",
    protocol="lamps-v1",
    groups={"lamps": TASKS},
    score="success",
    sentences=sentences,
    cameras=("top",),
    view="top",
    state=(Quantity("seed", "1"), Quantity("actions", "1")),
    action=(Quantity("switch", "1 on"), Quantity("nothing", "1")),
    fps=10,
    max_steps=MAX_STEPS,
    make=LampsEnv,
    chains=tuple((TASKS * 2)[number : number + 5] for number in range(6)),
)
