"""A scripted expert for LIBERO: it reads the simulator and looks at nothing.

It has no memory. Every action follows from where hand, fingers and things are, so that it can take
over from any state: after a push, or from a policy that went astray. What it does first is the
first part of the goal that does not hold yet: open a drawer before something is put into it, turn a
knob, pick and place, close.

Grasps follow from the collision geometry: from above, with the fingers across the narrowest width,
or at the rim of what is too wide.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

GAIN = 16.0
"""Action units per metre: 1 asks for 5 cm, of which the arm does a part in a step."""
TURN = 2.0
"""Action units per radian."""
WIDEST = 0.07
"""What the fingers can span, metres."""
OPEN = 0.07
"""Distance of the fingers beyond which the hand counts as open, metres."""
NEAR, DEPTH = 0.015, 0.012
"""Distances, to the side and in height, within which the fingers may close, metres."""
FIRM = 0.99
"""Of the gripper's command, which takes eight actions from open to closed: the force follows it."""
STILL = 0.01
"""Speed of a finger that has met something, or its end, metres a second."""
SLOPE = 4.0
"""How much higher the hand stays for every metre to the side."""
WALL, RIM = 0.003, 0.01
"""Half the thickness of a wall, and how far below its rim it is seized, metres."""
DOWN = Rotation.from_euler("x", np.pi)
"""The hand that points down; its fingers move along its x."""
ARRIVED, LET_GO = 0.025, 0.012
"""Distances to the side and in height from which a thing is let go, metres."""
FINGERS = 0.012
"""Length of the fingertips below the point that the hand's place means, metres."""


@dataclass(frozen=True)
class Grasp:
    """How the hand holds a thing, from above."""

    place: Float[np.ndarray, "3"]
    """Where the fingertips close, metres."""
    yaw: float
    """How the hand is turned about the vertical, rad: at 0 the fingers close along y."""
    width: float
    """Thickness of what is between the fingers, metres."""


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
        self.hand: Float[np.ndarray, "3"] = np.array(self.data.site_xpos[site])
        self.turned = Rotation.from_matrix(self.data.site_xmat[site].reshape(3, 3))
        left, right = self.data.qpos[robot._ref_gripper_joint_pos_indexes]
        self.gap = float(left - right)
        speed = np.abs(self.data.qvel[robot._ref_gripper_joint_vel_indexes]).max()
        self.firm = bool(robot.gripper.current_action[-1] > FIRM and speed < STILL)

    def place(self, name: str) -> Float[np.ndarray, "3"]:
        """Return where a thing, a part or a region is."""
        return np.array(self.world.object_states_dict[name].get_geom_state()["pos"])

    def pose(self, name: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Return place and rotation of a thing."""
        body = self.world.obj_body_id[name]
        return np.array(self.data.xpos[body]), np.array(self.data.xmat[body].reshape(3, 3))

    def points(self, name: str) -> Float[np.ndarray, "point 3"]:
        """Return the corners of the boxes that a thing collides with."""
        root = self.world.obj_body_id[name]
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        corners = []
        for geom in range(self.model.ngeom):
            body = self.model.geom_bodyid[geom]
            while body and body != root:
                body = self.model.body_parentid[body]
            if body == root and self.model.geom_group[geom] == 0:
                turned = self.data.geom_xmat[geom].reshape(3, 3)
                corners.append(
                    self.data.geom_xpos[geom] + (signs * self.model.geom_size[geom]) @ turned.T
                )
        return np.concatenate(corners)

    def holds(self, goal: list[str]) -> bool:
        """Return whether a part of the goal is reached."""
        return bool(self.world._eval_predicate(goal))

    def move(
        self, to: Float[np.ndarray, "3"], *, yaw: float, close: bool
    ) -> Float32[np.ndarray, "7"]:
        """Return the action towards a place, with the hand pointing down."""
        wanted = Rotation.from_euler("z", yaw + np.pi / 2) * DOWN
        turn = (wanted * self.turned.inv()).as_rotvec()
        action = np.concatenate([GAIN * (to - self.hand), TURN * turn, [1.0 if close else -1.0]])
        return np.clip(action, -1, 1).astype(np.float32)


def top_grasp(scene: Scene, name: str) -> Grasp:
    """Return the grasp across the narrowest width, or at the rim of what is too wide.

    It is found in the frame of the thing, so that it stays where it is when the thing tilts in the
    hand.
    """
    place, turned = scene.pose(name)
    points = (scene.points(name) - place) @ turned  # in the frame of the thing
    up = int(np.abs(turned[2]).argmax())  # which of its axes is the vertical one
    sign = np.sign(turned[2, up])
    high, low = (sign * points[:, up]).max(), (sign * points[:, up]).min()
    flat = [axis for axis in range(3) if axis != up]
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    across = np.zeros((36, 3))
    across[:, flat] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    width = np.ptp(points @ across.T, axis=0)
    yaws = np.array([_yaw(turned @ direction) for direction in across])
    # The hand begins at yaw 0; of widths that are nearly the same the nearest is taken.
    cost = width + 0.01 * np.abs(yaws)
    best = int(cost.argmin())
    if width[best] <= WIDEST:
        depth = max(high - 0.03, (high + low) / 2, low + FINGERS)
        middle[up] = sign * min(depth, high - 0.005)
        return Grasp(place + turned @ middle, float(yaws[best]), float(width[best]))
    best = int(np.abs(yaws).argmin())
    sides = [middle + side * (width[best] / 2 - WALL) * across[best] for side in (-1, 1)]
    for side in sides:
        side[up] = sign * (high - RIM)
    places = [place + turned @ side for side in sides]
    nearest = min(places, key=lambda one: float(np.hypot(*(one - scene.hand)[:2])))
    return Grasp(nearest, float(yaws[best]), 0.006)


def _yaw(direction: Float[np.ndarray, "3"]) -> float:
    """Return how the hand is turned when its fingers close along a direction, -90 to 90 degrees."""
    yaw = np.arctan2(-direction[0], direction[1])
    return float((yaw + np.pi / 2) % np.pi - np.pi / 2)


def held(scene: Scene, grasp: Grasp) -> bool:
    """Return whether the fingers are around a thing and closed on it."""
    error = grasp.place - scene.hand
    return bool(
        np.hypot(*error[:2]) < 2 * NEAR
        and abs(error[2]) < 2.5 * DEPTH
        and scene.gap < grasp.width + 0.012
        and scene.firm
    )


def pick(scene: Scene, grasp: Grasp) -> Float32[np.ndarray, "7"]:
    """Return the action on the way to a grasp: over it, down with open fingers, close."""
    error = grasp.place - scene.hand
    aside = float(np.hypot(*error[:2]))
    if aside < NEAR and abs(error[2]) < DEPTH:
        return scene.move(grasp.place, yaw=grasp.yaw, close=True)
    higher = np.clip(SLOPE * (aside - 0.01), 0, 0.12)
    if scene.gap < OPEN - 0.01 and aside > 2 * NEAR:
        higher = max(higher, 0.06)
    target = grasp.place + [0, 0, higher]
    if scene.hand[2] < target[2] - 0.03:  # up before to the side
        target[:2] = scene.hand[:2]
    return scene.move(target, yaw=grasp.yaw, close=False)


def _way(
    scene: Scene, name: str, place: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """Return the way of the middle of a thing's lower side to a place."""
    points = scene.points(name)
    middle = (points[:, :2].max(axis=0) + points[:, :2].min(axis=0)) / 2
    return np.array([*(place[:2] - middle), place[2] - points[:, 2].min()])


def put(
    scene: Scene, grasp: Grasp, way: Float[np.ndarray, "3"], *, clear: float
) -> Float32[np.ndarray, "7"]:
    """Return the action that carries a held thing.

    Args:
        scene: The scene.
        grasp: How it is held.
        way: Way of its lower side, metres.
        clear: Height above the end of the way at which it is carried, metres.
    """
    way = way.copy()
    way[2] += np.clip((np.hypot(*way[:2]) - 0.012) / 0.02, 0, 1) * clear
    if way[2] > 0.02:  # up before to the side
        way[:2] *= np.clip(1 - (way[2] - 0.02) / 0.04, 0, 1)
    return scene.move(scene.hand + way, yaw=grasp.yaw, close=True)


def expert_action(world: Any) -> Float32[np.ndarray, "7"]:
    """Return what the expert does in the present state of robosuite's environment."""
    scene = Scene(world)
    for goal in world.parsed_problem["goal_state"]:
        if not scene.holds(goal):
            return _towards(scene, goal)
    return scene.move(scene.hand + [0, 0, 0.05], yaw=0.0, close=False)


def _towards(scene: Scene, goal: list[str]) -> Float32[np.ndarray, "7"]:
    kind, name, *target = goal
    if kind in ("on", "in"):
        grasp = top_grasp(scene, name)
        place, clear = _destination(scene, target[0])
        way = _way(scene, name, place)
        if np.hypot(*way[:2]) < ARRIVED and -LET_GO < way[2]:
            up = 0.1 if scene.gap > grasp.width + 0.01 else 0.0
            return scene.move(scene.hand + [0, 0, up], yaw=grasp.yaw, close=False)
        if held(scene, grasp):
            return put(scene, grasp, way, clear=clear)
        return pick(scene, grasp)
    raise NotImplementedError(kind)


def _destination(scene: Scene, name: str) -> tuple[Float[np.ndarray, "3"], float]:
    """Return where a thing is put, and the height to carry it at."""
    place = scene.place(name)
    if name in scene.world.obj_body_id:
        top = scene.points(name)[:, 2].max()
        low = scene.points(name)[:, 2].min() + 0.015
        return np.array([*place[:2], low]), top + 0.06 - low
    site = scene.world.object_sites_dict[name]
    parent = site.parent_name if hasattr(site, "parent_name") else None
    if parent in scene.world.obj_body_id:
        points = scene.points(parent)
        if "contain" in name:
            middle = (points[:, :2].max(axis=0) + points[:, :2].min(axis=0)) / 2
            return np.array([*middle, points[:, 2].max() - 0.02]), 0.05
        return place, points[:, 2].max() + 0.08 - place[2]
    return place, 0.1
