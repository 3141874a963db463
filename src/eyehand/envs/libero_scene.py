"""What the LIBERO expert reads of the simulator: hand, things, furniture, and what is in the way.

Geometry is that of collision: boxes, by their corners.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial.transform import Rotation

from eyehand.envs import opengl  # noqa: F401  (first: it chooses the library for mujoco)

# isort: split
import mujoco

GAIN = 16.0
"""Action units per metre: 1 asks for 5 cm, of which the arm does a part in a step."""
TURN = 2.0
"""Action units per radian."""
FIRM = 0.99
"""Of the gripper's command, which takes eight actions from open to closed: the force follows it."""
STILL = 0.01
"""Speed of a finger that has met something, or its end, metres a second."""
CORRIDOR = 0.09
"""Distance to the side within which things are in the way, metres."""
CORNERS = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, -1).T
GRID = np.array(np.meshgrid(*3 * [np.linspace(-1, 1, 5)])).reshape(3, -1).T
"""Points of a box, in halves of its sizes: its corners, and a grid of points between them."""
DOWN = Rotation.from_euler("x", np.pi)
"""The hand that points down; its fingers move along its x."""
FRONT = 0.018
"""How far behind its foremost point a drawer's handle reaches, metres."""


class Scene:
    """What the expert reads of robosuite's environment.

    Args:
        world: The environment.
    """

    def __init__(self, world: Any) -> None:
        self.world = world
        self.model, self.data = world.sim.model._model, world.sim.data._data
        (robot,) = world.robots
        site = robot.eef_site_id
        self.hand = np.array(self.data.site_xpos[site])
        self.base = np.array(self.data.body("robot0_base").xpos)
        self.turned = Rotation.from_matrix(self.data.site_xmat[site].reshape(3, 3))
        left, right = self.data.qpos[robot._ref_gripper_joint_pos_indexes]
        self.gap = float(left - right)
        speed = np.abs(self.data.qvel[robot._ref_gripper_joint_vel_indexes]).max()
        self.closed = bool(robot.gripper.current_action[-1] > FIRM)
        self.firm = self.closed and bool(speed < STILL)

    @property
    def pointing(self) -> Float[np.ndarray, "3"]:
        """The direction from the wrist to the fingertips."""
        return self.turned.as_matrix()[:, 2]

    @property
    def yaw(self) -> float:
        """How the hand is turned about the vertical, rad, as `yaw_along` says."""
        return yaw_along(self.turned.as_matrix()[:, 0])

    def place(self, name: str) -> Float[np.ndarray, "3"]:
        """Return where a thing, a part or a region is."""
        return np.array(self.world.object_states_dict[name].get_geom_state()["pos"])

    def pose(self, name: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Return place and rotation of a thing."""
        body = self.world.obj_body_id[name]
        return np.array(self.data.xpos[body]), np.array(self.data.xmat[body].reshape(3, 3))

    def points(self, name: str) -> Float[np.ndarray, "point 3"]:
        """Return the corners of the boxes that a thing collides with."""
        return self._points(self._roots == self.world.obj_body_id[name], CORNERS)

    def points_of_body(self, body: int) -> Float[np.ndarray, "point 3"]:
        """Return the corners of the boxes that one body collides with, without what moves in it."""
        return self._points(self.model.geom_bodyid == body, CORNERS)

    def height_on_the_way(self, to: Float[np.ndarray, "3"], *, but: str) -> float:
        """Return how high things reach between the hand and a place, apart from one of them."""
        points = self.others(but)
        start, way = self.hand[:2], to[:2] - self.hand[:2]
        share = ((points[:, :2] - start) @ way / max(way @ way, 1e-9)).clip(0, 1)
        distance = np.linalg.norm(points[:, :2] - start - share[:, None] * way, axis=1)
        near = points[distance < CORRIDOR, 2]
        return float(near.max()) if len(near) else -np.inf

    def others(self, name: str) -> Float[np.ndarray, "point 3"]:
        """Return points of whatever collides, apart from one thing, the robot and the room."""
        own = self.world.obj_body_id[name]
        return self._points(
            (self._roots != own) & (self._roots != self._robot) & (self._roots != 0), GRID
        )

    @cached_property
    def _roots(self) -> Int[np.ndarray, " geom"]:
        """The body at the root of every geom, below the world."""
        return self.model.body_rootid[self.model.geom_bodyid]

    @cached_property
    def _robot(self) -> int:
        """The body at the root of the robot."""
        return int(self.model.body_rootid[self.model.body("robot0_base").id])

    def _points(
        self, chosen: Bool[np.ndarray, " geom"], signs: Float[np.ndarray, "sign 3"]
    ) -> Float[np.ndarray, "point 3"]:
        """Return points of the boxes of some geoms that collide."""
        geoms = np.flatnonzero(chosen & (self.model.geom_group == 0))
        turned = self.data.geom_xmat[geoms].reshape(-1, 3, 3)
        offsets = np.einsum("gij,gsj->gsi", turned, signs * self.model.geom_size[geoms, None])
        points: Float[np.ndarray, "point 3"] = self.data.geom_xpos[geoms, None] + offsets
        return points.reshape(-1, 3)

    def rests(self, name: str) -> bool:
        """Return whether a thing touches something beside the robot."""
        own = self.world.obj_body_id[name]
        pairs = self._roots[self.data.contact.geom]
        touched = pairs[(pairs == own).any(axis=1)]
        return bool((touched != self._robot).all(axis=1).any())

    def before(
        self, place: Float[np.ndarray, "3"], direction: Float[np.ndarray, "3"]
    ) -> tuple[float, Float[np.ndarray, "3"]]:
        """Return how far the hand is before a place, along a direction, and its way to the side."""
        error = place - self.hand
        along = float(error @ direction)
        return along, error - along * direction

    def holds(self, goal: list[str]) -> bool:
        """Return whether a part of the goal is reached."""
        return bool(self.world._eval_predicate(goal))

    def joint_of(self, name: str) -> "FurnitureJoint":
        """Return the joint of a drawer's region, a door or a knob."""
        part = self.world.object_sites_dict.get(name) or self.world.get_object(name)
        return FurnitureJoint.of(self, part.joints[0])

    def drawer_of(self, region: str) -> "FurnitureJoint | None":
        """Return the joint of the drawer that a region is in; None if it is in none."""
        site = self.world.object_sites_dict.get(region)
        return None if site is None or not site.joints else FurnitureJoint.of(self, site.joints[0])

    def door_of(self, name: str) -> "FurnitureJoint | None":
        """Return the joint of a piece of furniture's door; None if it has none."""
        for joint in self.world.get_object(name).joints:
            if self.model.joint(joint).type == mujoco.mjtJoint.mjJNT_HINGE:
                return FurnitureJoint.of(self, joint)
        return None

    def move(
        self, to: Float[np.ndarray, "3"], *, yaw: float = 0.0, tilt: float = 0.0, close: bool
    ) -> Float32[np.ndarray, "7"]:
        """Return the action towards a place and a rotation; see `hand_turned`."""
        return self.move_turned(to, hand_turned(yaw, tilt), close=close)

    def move_turned(
        self, to: Float[np.ndarray, "3"], wanted: Rotation, *, close: bool
    ) -> Float32[np.ndarray, "7"]:
        """Return the action towards a place and a rotation of the hand.

        Half a turn about where it points exchanges the fingers: of the two the nearer is taken.
        """
        both = Rotation.concatenate([wanted, wanted * Rotation.from_euler("z", np.pi)])
        turns = (both * self.turned.inv()).as_rotvec()
        turn = turns[np.linalg.norm(turns, axis=1).argmin()]
        action = np.concatenate([GAIN * (to - self.hand), TURN * turn, [1.0 if close else -1.0]])
        return np.clip(action, -1, 1).astype(np.float32)


@dataclass(frozen=True)
class FurnitureJoint:
    """A drawer, a door or a knob, as far as the expert needs it."""

    body: int
    """Number of the body that moves."""
    value: float
    """Where its joint is, metres or rad: at 0 a drawer or a door is shut."""
    axis: Float[np.ndarray, "3"]
    """The joint's axis in the world."""
    anchor: Float[np.ndarray, "3"]
    """A point on it, metres."""

    @classmethod
    def of(cls, scene: Scene, joint: str) -> "FurnitureJoint":
        """Read a joint of the model."""
        number = scene.model.joint(joint).id
        return cls(
            int(scene.model.jnt_bodyid[number]),
            float(scene.data.qpos[scene.model.jnt_qposadr[number]]),
            scene.data.xaxis[number].copy(),
            scene.data.xanchor[number].copy(),
        )

    @property
    def out(self) -> Float[np.ndarray, "3"]:
        """The direction in which a drawer opens."""
        return -self.axis

    def front(self, scene: Scene) -> Float[np.ndarray, "point 3"]:
        """Return the corners of a drawer's handle, or of what else is foremost."""
        points = scene.points_of_body(self.body)
        along = points @ self.out
        return points[along > along.max() - FRONT]


def hand_turned(yaw: float, tilt: float = 0.0, *, lean: float = 0.0) -> Rotation:
    """Return the rotation of a hand.

    Args:
        yaw: About the vertical, rad: at 0 the fingers close along y, and at 90 degrees along -x.
        tilt: How far it points up from below, rad, towards that direction: at 90 degrees it points
            sideways, with one finger above the other.
        lean: How far it points up, rad, across that direction: at yaw 0 towards -x. Both fingers
            stay on one level.

    Example:
        >>> hand_turned(0.0, 0.5 * np.pi).as_matrix()[:, 2].round(3) + 0.0
        array([0., 1., 0.])
    """
    closing = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    level = Rotation.from_euler("z", yaw + np.pi / 2) * DOWN
    tilted = Rotation.from_rotvec(tilt * np.cross(closing, [0, 0, 1])) * level
    return Rotation.from_rotvec(lean * closing) * tilted


def yaw_along(direction: Float[np.ndarray, "3"]) -> float:
    """Return how a hand is turned when its fingers close along a direction, -90 to 90 degrees."""
    yaw = np.arctan2(-direction[0], direction[1])
    return float((yaw + np.pi / 2) % np.pi - np.pi / 2)
