"""Template, untested: a differential-drive robot in Gazebo (Harmonic) as a suite, over ROS 2.

    gz sim -s -r world.sdf                 # the simulator
    ros2 run ros_gz_bridge parameter_bridge /cmd_vel@geometry_msgs/msg/Twist@gz.msgs.Twist \
        /odom@nav_msgs/msg/Odometry@gz.msgs.Odometry /eye@sensor_msgs/msg/Image@gz.msgs.Image
    python3 gazebo.py                      # with ROS 2 sourced
    eyehand eval POLICY --suite ws://127.0.0.1:8001 --tasks all --out outputs/gazebo

What to fill in is marked FILL IN. `seed` must alone decide the start state: the world is reset by
the service /world/NAME/control, and whatever the seed places is placed after it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.suite import Quantity, Suite
from eyehand.serving.simulator_server import serve_suite

TASKS = {"goal": Instructions("Drive to the red post")}
SPEED, TURN, FPS = 0.5, 1.0, 10
"""Metres and radians a second of an action of 1; actions a second."""


class DriveEnv(RobotEnv):
    """x, y and heading; an action is forward speed and turn."""

    def __init__(self, task: str, *, cameras: Mapping[str, int], **settings: Any) -> None:
        super().__init__(
            task, instruction=TASKS[task].canonical, cameras=cameras,
            state_dim=3, action_dim=2, fps=FPS,
            render_observations=settings.get("render_observations", True),
        )  # fmt: skip
        rclpy.init()
        self.node = rclpy.create_node("eyehand")
        self.drive = self.node.create_publisher(Twist, "/cmd_vel", 1)
        self.place, self.seen, self.steps = np.zeros(3), np.zeros((64, 64, 3), np.uint8), 0
        self.node.create_subscription(Odometry, "/odom", self._feel, 1)
        self.node.create_subscription(Image, "/eye", self._see, 1)

    def _feel(self, message: Odometry) -> None:
        where, turned = message.pose.pose.position, message.pose.pose.orientation
        self.place = np.array([where.x, where.y, 2 * np.arctan2(turned.z, turned.w)])

    def _see(self, message: Image) -> None:
        self.seen = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Reset the world, and place the goal as the seed says."""
        random = np.random.default_rng(self.seed_of_episode(seed))
        self.goal = random.uniform(-3, 3, 2)  # FILL IN: call /world/NAME/control and /set_pose
        self.steps = 0
        rclpy.spin_once(self.node, timeout_sec=1.0)
        return self.observation(self.place), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive for a tenth of a second."""
        forward, turn = self.checked_action(action)
        told = Twist()
        told.linear.x, told.angular.z = SPEED * float(forward), TURN * float(turn)
        self.drive.publish(told)
        rclpy.spin_once(self.node, timeout_sec=1 / FPS)  # FILL IN: step a paused world instead
        self.steps += 1
        distance = float(np.hypot(*(self.place[:2] - self.goal)))
        success = distance < 0.3
        truncated = self.steps >= SUITE.max_steps and not success
        return self.observation(self.place), -distance, success, truncated, {"success": success}

    def picture(self, camera: str, *, size: int, quality: Any = None) -> np.ndarray:
        """Return the last picture, scaled to the size that is asked for."""
        rows = np.linspace(0, self.seen.shape[0] - 1, size).astype(int)
        columns = np.linspace(0, self.seen.shape[1] - 1, size).astype(int)
        return np.ascontiguousarray(self.seen[rows][:, columns])


SUITE = Suite(
    name="gazebo-drive", protocol="gazebo-drive-v1", groups={"all": tuple(TASKS)}, score="success",
    sentences=TASKS.__getitem__, cameras=("eye",), view="eye",
    state=(Quantity("x", "m"), Quantity("y", "m"), Quantity("heading", "rad")),
    action=(Quantity("forward", "0.5 m/s"), Quantity("turn", "1 rad/s")),
    fps=FPS, max_steps=300, make=DriveEnv,
)  # fmt: skip

if __name__ == "__main__":
    serve_suite(SUITE, port=8001)
