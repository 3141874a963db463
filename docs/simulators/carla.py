"""Template, untested: lane keeping in CARLA 0.9.16 as a suite.

    ./CarlaUE4.sh -RenderOffScreen         # the simulator
    python carla.py                        # with CARLA's Python package installed
    eyehand eval POLICY --suite ws://127.0.0.1:8001 --tasks all --out outputs/carla

What to fill in is marked FILL IN. The world runs in synchronous mode, so that a step is a step
however long the policy thinks.
"""

import queue
from collections.abc import Mapping
from typing import Any

import carla
import numpy as np

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.suite import Quantity, Suite
from eyehand.serving.simulator_server import serve_suite

TASKS = {"lane": Instructions("Follow the lane")}
FPS = 20


class CarEnv(RobotEnv):
    """Speed and distance from the lane's middle; an action is throttle or brake, and steering."""

    def __init__(self, task: str, *, cameras: Mapping[str, int], **settings: Any) -> None:
        super().__init__(
            task, instruction=TASKS[task].canonical, cameras=cameras,
            state_dim=2, action_dim=2, fps=FPS,
            render_observations=settings.get("render_observations", True),
        )  # fmt: skip
        client = carla.Client("127.0.0.1", 2000)
        client.set_timeout(60)
        self.world = client.load_world("Town04")
        rules = self.world.get_settings()
        rules.synchronous_mode, rules.fixed_delta_seconds = True, 1 / FPS
        self.world.apply_settings(rules)
        self.actors: list[Any] = []
        self.pictures_taken: queue.Queue[Any] = queue.Queue()
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Place the car where the seed says."""
        random = np.random.default_rng(self.seed_of_episode(seed))
        for actor in self.actors:
            actor.destroy()
        kinds = self.world.get_blueprint_library()
        starts = self.world.get_map().get_spawn_points()
        start = starts[int(random.integers(len(starts)))]
        self.car = self.world.spawn_actor(kinds.find("vehicle.tesla.model3"), start)
        eye = kinds.find("sensor.camera.rgb")
        eye.set_attribute("image_size_x", "256")
        eye.set_attribute("image_size_y", "256")
        place = carla.Transform(carla.Location(x=1.5, z=1.6))
        camera = self.world.spawn_actor(eye, place, attach_to=self.car)
        camera.listen(self.pictures_taken.put)
        bump = self.world.spawn_actor(kinds.find("sensor.other.collision"), place, self.car)
        self.crashed, self.steps = False, 0
        bump.listen(self._crash)
        self.actors = [camera, bump, self.car]
        self._tick()
        return self.observation(self._state()), {"success": False}

    def _crash(self, event: Any) -> None:
        self.crashed = True

    def _tick(self) -> None:
        self.world.tick()
        shot = self.pictures_taken.get(timeout=10)
        seen = np.frombuffer(shot.raw_data, np.uint8).reshape(shot.height, shot.width, 4)
        self.seen = seen[..., 2::-1]  # BGRA to RGB

    def _state(self) -> np.ndarray:
        speed, here = self.car.get_velocity(), self.car.get_location()
        middle = self.world.get_map().get_waypoint(here).transform.location
        return np.array([np.hypot(speed.x, speed.y), here.distance(middle)])

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for a twentieth of a second; a collision terminates and is no success."""
        pedal, steer = (float(number) for number in self.checked_action(action))
        self.car.apply_control(
            carla.VehicleControl(throttle=max(pedal, 0), brake=max(-pedal, 0), steer=steer)
        )
        self._tick()
        self.steps += 1
        state = self._state()
        success = (
            self.steps >= SUITE.max_steps - 1 and not self.crashed
        )  # FILL IN: your own measure
        truncated = self.steps >= SUITE.max_steps and not (success or self.crashed)
        reward = float(state[0] - 5 * state[1])
        info = {"success": success}
        return self.observation(state), reward, success or self.crashed, truncated, info

    def picture(self, camera: str, *, size: int, quality: Any = None) -> np.ndarray:
        """Return the last picture, scaled to the size that is asked for."""
        rows = np.linspace(0, len(self.seen) - 1, size).astype(int)
        return np.ascontiguousarray(self.seen[rows][:, rows])


SUITE = Suite(
    name="carla-lane", protocol="carla-lane-v1", groups={"all": tuple(TASKS)}, score="success",
    sentences=TASKS.__getitem__, cameras=("eye",), view="eye",
    state=(Quantity("speed", "m/s"), Quantity("distance from the lane's middle", "m")),
    action=(Quantity("pedal", "1 full throttle, -1 full brake"), Quantity("steering", "1 right")),
    fps=FPS, max_steps=600, make=CarEnv,
)  # fmt: skip

if __name__ == "__main__":
    serve_suite(SUITE, port=8001)
