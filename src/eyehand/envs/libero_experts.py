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
from jaxtyping import Bool, Float, Float32, Int
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
CORRIDOR, ABOVE = 0.09, 0.04
"""Distance to the side within which things are in the way, and how far above them the hand goes,
metres."""
PALM = (0.11, 0.04)
"""Half the sizes of the hand, along its fingers' motion and across it, metres."""
CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
GRID = np.array(np.meshgrid(*3 * [np.linspace(-1, 1, 5)])).reshape(3, -1).T
"""Points of a box, in halves of its sizes: its corners, and a grid of points between them."""
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
        self.closed = bool(robot.gripper.current_action[-1] > FIRM)
        self.firm = self.closed and bool(speed < STILL)

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
        return self._points(self._roots() == root, CORNERS)

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
        roots = self._roots()
        robot = self.model.body_rootid[self.model.body("robot0_base").id]
        solid = (roots != self.world.obj_body_id[name]) & (roots != robot) & (roots != 0)
        return self._points(solid, GRID)

    def _roots(self) -> Int[np.ndarray, " geom"]:
        """Return the body at the root of every geom, below the world."""
        return self.model.body_rootid[self.model.geom_bodyid]

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
        roots, own = self._roots(), self.world.obj_body_id[name]
        robot = self.model.body_rootid[self.model.body("robot0_base").id]
        pairs = roots[self.data.contact.geom]
        touched = pairs[(pairs == own).any(axis=1)]
        return bool((touched != robot).all(axis=1).any())

    def holds(self, goal: list[str]) -> bool:
        """Return whether a part of the goal is reached."""
        return bool(self.world._eval_predicate(goal))

    def move(
        self, to: Float[np.ndarray, "3"], *, yaw: float, close: bool
    ) -> Float32[np.ndarray, "7"]:
        """Return the action towards a place, with the hand pointing down."""
        return self.move_turned(to, Rotation.from_euler("z", yaw + np.pi / 2) * DOWN, close=close)

    def move_turned(
        self, to: Float[np.ndarray, "3"], wanted: Rotation, *, close: bool
    ) -> Float32[np.ndarray, "7"]:
        """Return the action towards a place and a rotation of the hand."""
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
    best = int((width + 0.01 * np.abs(yaws)).argmin())
    if width[best] <= WIDEST:
        depth = max(high - 0.03, (high + low) / 2, low + FINGERS)
        middle[up] = sign * min(depth, high - 0.005)
        return Grasp(place + turned @ middle, float(yaws[best]), float(width[best]))
    others = scene.others(name)
    # The rim alone: a handle may stick out below it.
    ring = points[sign * points[:, up] > high - 0.015]
    middle = (ring.max(axis=0) + ring.min(axis=0)) / 2
    width = np.ptp(ring @ across.T, axis=0)
    grasps = []
    for number in range(0, 36, 9):
        for side in (-1, 1):
            rim = middle + side * (width[number] / 2 - WALL) * across[number]
            rim[up] = sign * (high - RIM)
            grasps.append(Grasp(place + turned @ rim, float(yaws[number]), 0.006))

    def cost(grasp: Grasp) -> float:
        distance = float(np.hypot(*(grasp.place - scene.hand)[:2]))
        if distance < 2 * NEAR and scene.firm:
            return -1.0
        return distance + 0.05 * abs(grasp.yaw) + float(_blocked(grasp, others))

    return min(grasps, key=cost)


def _blocked(grasp: Grasp, points: Float[np.ndarray, "point 3"]) -> bool:
    """Return whether something stands where the palm or an open finger would be."""
    way = points - grasp.place
    along = np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)])
    fingers, flat = np.abs(way[:, :2] @ along), np.abs(way[:, :2] @ [along[1], -along[0]])
    palm = (way[:, 2] > 0.03) & (fingers < PALM[0]) & (flat < PALM[1])
    finger = (way[:, 2] > -FINGERS) & (np.abs(fingers - 0.045) < 0.012) & (flat < 0.015)
    return bool((palm | finger).any())


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


def pick(scene: Scene, grasp: Grasp, name: str) -> Float32[np.ndarray, "7"]:
    """Return the action on the way to a grasp: over it, down with open fingers, close."""
    error = grasp.place - scene.hand
    aside = float(np.hypot(*error[:2]))
    if aside < NEAR and abs(error[2]) < DEPTH:
        return scene.move(grasp.place, yaw=grasp.yaw, close=True)
    higher = np.clip(SLOPE * (aside - 0.01), 0, 0.12)
    if scene.gap < OPEN - 0.01 and aside > 2 * NEAR:
        higher = max(higher, 0.06)
    target = grasp.place + [0, 0, higher]
    if aside > 0.05:
        target[2] = max(target[2], scene.height_on_the_way(grasp.place, but=name) + ABOVE)
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
    scene: Scene, yaw: float, way: Float[np.ndarray, "3"], *, clear: float
) -> Float32[np.ndarray, "7"]:
    """Return the action that carries a held thing.

    Args:
        scene: The scene.
        yaw: How the hand is turned, rad.
        way: Way of its lower side, metres.
        clear: Height above the end of the way at which it is carried, metres.
    """
    way = way.copy()
    way[2] += np.clip((np.hypot(*way[:2]) - 0.012) / 0.02, 0, 1) * clear
    if way[2] > 0.02:  # up before to the side
        way[:2] *= np.clip(1 - (way[2] - 0.02) / 0.04, 0, 1)
    return scene.move(scene.hand + way, yaw=yaw, close=True)


@dataclass(frozen=True)
class Hinge:
    """A drawer, a door or a knob, as far as the expert needs it."""

    body: int
    """Number of the body that moves."""
    value: float
    """Where its joint is, metres or rad."""
    axis: Float[np.ndarray, "3"]
    """The joint's axis in the world."""

    @classmethod
    def of(cls, scene: Scene, joint: str) -> "Hinge":
        """Read a joint of the model."""
        number = scene.model.joint(joint).id
        value = scene.data.qpos[scene.model.jnt_qposadr[number]]
        return cls(int(scene.model.jnt_bodyid[number]), float(value), scene.data.xaxis[number].copy())


def pull_open(scene: Scene, hinge: Hinge) -> Float32[np.ndarray, "7"]:
    """Return the action that opens a drawer: from the front to its handle, close, and back."""
    out = -hinge.axis
    points = scene.points_of_body(hinge.body)
    front = points[points @ out > (points @ out).max() - 0.018]
    handle = (front.max(axis=0) + front.min(axis=0)) / 2 - 0.008 * out
    wanted = _pointing(scene, -out)
    error = handle - scene.hand
    before = float(-error @ out)  # how far the hand is in front of the handle
    aside = float(np.linalg.norm(error + before * out))
    turned = float((wanted * scene.turned.inv()).magnitude())
    thick = float(np.ptp(front[:, 2]))
    if aside < 0.02 and turned < 0.3 and abs(before) < 0.03:
        if scene.closed and scene.gap > 0.6 * thick:
            return scene.move_turned(scene.hand + 0.02 * out, wanted, close=True)
        if abs(before) < 0.012 and not (scene.closed and scene.gap < 0.6 * thick):
            return scene.move_turned(handle, wanted, close=True)
    if scene.gap < 0.04 and before < 0.06:  # it slipped off
        return scene.move_turned(handle + 0.1 * out, wanted, close=False)
    if aside > 0.015 or turned > 0.3:
        return scene.move_turned(handle + max(0.1, min(before, 0.14)) * out, wanted, close=False)
    return scene.move_turned(handle, wanted, close=False)


def push_shut(scene: Scene, hinge: Hinge) -> Float32[np.ndarray, "7"]:
    """Return the action that closes a drawer: with closed fingers against its front."""
    out = -hinge.axis
    points = scene.points_of_body(hinge.body)
    front = points[points @ out > (points @ out).max() - 0.018]
    middle = (front.max(axis=0) + front.min(axis=0)) / 2
    error = middle - scene.hand
    before = float(-error @ out)
    aside = float(np.linalg.norm(error + before * out))
    if aside > 0.03 and before < 0.06:
        target = scene.hand + (0.1 - before) * out
        target[2] = max(target[2], scene.hand[2] + (0.05 if before < 0.03 else 0.0))
        return scene.move(target, yaw=0.0, close=True)
    if aside > 0.03:
        return scene.move(middle + 0.08 * out, yaw=0.0, close=True)
    return scene.move(middle - 0.08 * out, yaw=0.0, close=True)


def turn(scene: Scene, hinge: Hinge, name: str) -> Float32[np.ndarray, "7"]:
    """Return the action that turns a knob: its ridge between the fingers, and the wrist around."""
    points = scene.points_of_body(hinge.body)
    ridge = points[points[:, 2] > points[:, 2].max() - 0.015]
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    across = np.stack([np.cos(angles), np.sin(angles)])
    width = np.ptp(ridge[:, :2] @ across, axis=0)
    best = int(width.argmin())
    middle = (ridge.max(axis=0) + ridge.min(axis=0)) / 2
    place = np.array([*middle[:2], points[:, 2].max() - 0.012])
    yaw = _yaw(np.array([*across[:, best], 0.0]))
    grasp = Grasp(place, yaw, float(width[best]))
    if held(scene, grasp):
        direction = scene.turned.as_matrix()[:, 0]
        return scene.move(place, yaw=_yaw(direction) + 0.4, close=True)
    return pick(scene, grasp, name)


def _pointing(scene: Scene, direction: Float[np.ndarray, "3"]) -> Rotation:
    """Return the hand that points sideways, with its fingers one above the other.

    Of the two ways the one that is a smaller turn from where the hand is.
    """
    ways = [
        Rotation.from_matrix(np.stack([up, np.cross(direction, up), direction], axis=1))
        for up in (np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0]))
    ]
    return min(ways, key=lambda way: float((way * scene.turned.inv()).magnitude()))


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
        drawer = _closed_drawer(scene, target[0])
        if drawer is not None:
            return pull_open(scene, drawer)
        if scene.turned.as_matrix()[2, 2] > -0.7:  # it points sideways, as before a drawer
            return _turn_down(scene, target[0])
        grasp = top_grasp(scene, name)
        destination = _destination(scene, target[0])
        way = _way(scene, name, destination.place)
        low = -LET_GO if not scene.rests(name) else -4 * LET_GO
        if np.hypot(*way[:2]) < ARRIVED and low < way[2]:
            up = 0.1 if scene.gap > grasp.width + 0.01 else 0.0
            return scene.move(scene.hand + [0, 0, up], yaw=grasp.yaw, close=False)
        if held(scene, grasp):
            below = scene.hand[2] - scene.points(name)[:, 2].min()
            height = scene.height_on_the_way(scene.hand + way, but=name) + ABOVE + below
            clear = max(destination.clear, height - scene.hand[2] - way[2])
            yaw = grasp.yaw if destination.yaw is None else destination.yaw
            return put(scene, yaw, way, clear=clear)
        return pick(scene, grasp, name)
    if kind == "turnon":
        return turn(scene, Hinge.of(scene, scene.world.get_object(name).joints[0]), name)
    site = scene.world.object_sites_dict.get(name)
    joint = site.joints[0] if site else scene.world.get_object(name).joints[0]
    if kind == "open":
        return pull_open(scene, Hinge.of(scene, joint))
    return push_shut(scene, Hinge.of(scene, joint))


def _turn_down(scene: Scene, region: str) -> Float32[np.ndarray, "7"]:
    """Return the action of a hand that points sideways: off a drawer's handle, then down."""
    site = scene.world.object_sites_dict.get(region)
    if site is not None and site.joints:
        hinge = Hinge.of(scene, site.joints[0])
        out = -hinge.axis
        front = float((scene.points_of_body(hinge.body) @ out).max())
        if scene.hand @ out < front + 0.08:
            return scene.move_turned(scene.hand + 0.1 * out, scene.turned, close=False)
    return scene.move(scene.hand + [0, 0, 0.03], yaw=0.0, close=False)


def _closed_drawer(scene: Scene, region: str) -> Hinge | None:
    """Return the drawer that a region is in, if it is not open yet."""
    site = scene.world.object_sites_dict.get(region)
    if site is None or not site.joints:
        return None
    hinge = Hinge.of(scene, site.joints[0])
    return hinge if hinge.value > -0.13 else None


@dataclass(frozen=True)
class Destination:
    """Where a thing is put."""

    place: Float[np.ndarray, "3"]
    """Where the middle of its lower side is let go, metres."""
    clear: float
    """How far above that it is carried, metres."""
    yaw: float | None = None
    """How the hand is turned there, where the place is long and narrow."""


def _destination(scene: Scene, name: str) -> Destination:
    """Return where a thing goes that shall be on, or in, something."""
    place = scene.place(name)
    if name in scene.world.obj_body_id:  # a plate or a bowl: onto its floor
        points = scene.points(name)
        floor = points[:, 2].min() + 0.015
        return Destination(np.array([*place[:2], floor]), points[:, 2].max() + 0.06 - floor)
    site = scene.world.object_sites_dict[name]
    if getattr(site, "parent_name", None) is None:  # a part of the table
        return Destination(place, 0.08)
    turned = scene.data.site(name).xmat.reshape(3, 3)
    half = np.asarray(site.size)
    height = float(np.abs(turned[2] @ half))
    if height < 0.01:  # a plate of the stove, the top of the cabinet
        return Destination(place, 0.1)
    if site.joints:
        top = scene.points_of_body(Hinge.of(scene, site.joints[0]).body)[:, 2].max()
    else:
        top = scene.points(site.parent_name)[:, 2].max()
    # Things fall the rest of the way.
    place[2] = max(place[2] - height + 0.02, top - 0.06)
    flat = sorted((axis for axis in range(3) if abs(turned[2, axis]) < 0.7), key=lambda a: half[a])
    narrow = half[flat[0]] < 0.6 * half[flat[-1]]
    return Destination(place, 0.08, _yaw(turned[:, flat[0]]) if narrow else None)
