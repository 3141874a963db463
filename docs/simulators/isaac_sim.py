"""Template, untested: a Franka arm in Isaac Sim 5 as a suite. Run it with Isaac Sim's own Python.

    ./python.sh isaac_sim.py
    eyehand eval POLICY --suite ws://127.0.0.1:8001 --tasks all --out outputs/isaac

What to fill in is marked FILL IN; the names of Isaac Sim's modules are those of its manual for 5.0.
"""

from collections.abc import Mapping
from typing import Any

from isaacsim import SimulationApp

app = SimulationApp({"headless": True})  # before anything else of Isaac Sim is imported

import numpy as np  # noqa: E402
from isaacsim.core.api import World  # noqa: E402
from isaacsim.robot.manipulators.examples.franka import Franka  # noqa: E402
from isaacsim.sensors.camera import Camera  # noqa: E402

from eyehand.envs.instructions import Instructions  # noqa: E402
from eyehand.envs.robot_env import RobotEnv  # noqa: E402
from eyehand.envs.suite import Quantity, Suite  # noqa: E402
from eyehand.serving.simulator_server import serve_suite  # noqa: E402

TASKS = {"reach": Instructions("Move the hand to the cube")}
STEP = 0.02
"""Radians that an action of 1 turns a joint in a step."""


class FrankaEnv(RobotEnv):
    """Seven joints and two fingers; one camera."""

    def __init__(self, task: str, *, cameras: Mapping[str, int], **settings: Any) -> None:
        super().__init__(
            task, instruction=TASKS[task].canonical, cameras=cameras,
            state_dim=9, action_dim=9, fps=60,
            render_observations=settings.get("render_observations", True),
        )  # fmt: skip
        self.world = World(stage_units_in_meters=1.0)
        self.world.scene.add_default_ground_plane()
        self.robot = self.world.scene.add(Franka(prim_path="/World/Franka", name="franka"))
        self.eye = Camera(prim_path="/World/eye", resolution=(512, 512))  # FILL IN its place
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Place everything as the seed says."""
        random = np.random.default_rng(self.seed_of_episode(seed))
        self.world.reset()
        self.eye.initialize()
        self.goal = random.uniform([0.3, -0.3, 0.1], [0.6, 0.3, 0.4])  # FILL IN: place your objects
        self.steps = 0
        return self.observation(self.robot.get_joint_positions()), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Turn every joint a little."""
        aim = self.robot.get_joint_positions() + STEP * self.checked_action(action)
        self.robot.set_joint_position_targets(aim)
        self.world.step(render=False)
        self.steps += 1
        place, _ = self.robot.end_effector.get_world_pose()
        distance = float(np.linalg.norm(place - self.goal))
        success = distance < 0.05  # FILL IN: when is the task solved?
        truncated = self.steps >= SUITE.max_steps and not success
        state = self.robot.get_joint_positions()
        return self.observation(state), -distance, success, truncated, {"success": success}

    def picture(self, camera: str, *, size: int, quality: Any = None) -> np.ndarray:
        """Render, and scale to the size that is asked for."""
        self.world.render()
        drawn = self.eye.get_rgba()[..., :3]
        rows = np.linspace(0, len(drawn) - 1, size).astype(int)
        return np.ascontiguousarray(drawn[rows][:, rows])


SUITE = Suite(
    name="isaac-franka", protocol="isaac-franka-v1", groups={"all": tuple(TASKS)}, score="success",
    sentences=TASKS.__getitem__, cameras=("eye",), view="eye",
    state=tuple(Quantity(f"joint {number}", "rad") for number in range(9)),
    action=tuple(Quantity(f"joint {number}", "0.02 rad a step") for number in range(9)),
    fps=60, max_steps=600, make=FrankaEnv,
)  # fmt: skip

if __name__ == "__main__":
    serve_suite(SUITE, port=8001)
