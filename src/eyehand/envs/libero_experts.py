"""A scripted expert for LIBERO: it reads the simulator and looks at nothing.

It has no memory. Every action follows from where hand, fingers and things are, so that it can take
over from any state: after a push, or from a policy that went astray. What it does first is the
first part of the goal that does not hold yet: open a drawer before something is put into it, turn a
knob, pick and place, and in the end close.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from eyehand.envs.libero_grasps import (
    ABOVE,
    DEPTH,
    FINGERS,
    NEAR,
    OPEN,
    WIDEST,
    Grasp,
    held,
    pick,
    top_grasp,
)
from eyehand.envs.libero_scene import FurnitureJoint, Scene, hand_turned, yaw_along

UP = np.array([0.0, 0.0, 1.0])
ARRIVED, LET_GO = 0.025, 0.016
"""Distances to the side and in height from which a thing is let go, metres."""
LOOSE = 0.01
"""How much wider than a thing the fingers are open when it is free, metres."""
SIDEWAYS = 0.3
"""How far the hand points down from the level before a handle, rad: so a finger hooks it."""
BACK = 0.6
"""How far the hand leans back from a drawer that it pushes, rad."""
AHEAD = 0.12
"""Length of the way on which a thing that is carried must be free to go on, metres."""
APART = 0.09
"""Distance of two things on the same place, metres."""
PULLED = -0.115
"""Place of a drawer's joint, metres, from which on there is room in it."""
FURTHER = 0.004
"""How much further it is pulled while the hand is at it, metres, since it slides back a little."""
WIDE_OPEN = -1.5
"""Angle of an oven's door, rad, from which on the hand has room beside it."""
BEHIND = 0.02
"""How far behind the place that it pushes the hand comes down, metres."""
FLAT = 0.03
"""Height of what is dragged to its place, as a plate is, metres."""


def expert_action(world: Any) -> Float32[np.ndarray, "7"]:
    """Return what the expert does in the present state of robosuite's environment."""
    scene = Scene(world)
    goals = world.parsed_problem["goal_state"]
    for goal in sorted(goals, key=lambda goal: goal[0] == "close"):  # things go in before
        if not scene.holds(goal) or _in_hand(scene, goal):
            return _towards(scene, goal)
    return scene.move(scene.hand + 0.05 * UP, close=False)


def _in_hand(scene: Scene, goal: list[str]) -> bool:
    """Return whether the thing of a goal is still between the fingers, closed or opening."""
    if goal[0] not in ("on", "in"):
        return False
    _, name, region = goal
    grasp = top_grasp(scene, name, inward=_destination(scene, region, name).inward)
    before, aside = scene.before(grasp.place, grasp.pointing)
    near = np.linalg.norm(aside) < 2 * NEAR and abs(before) < 2 * DEPTH
    return bool(near and scene.gap < grasp.width + LOOSE)


def _towards(scene: Scene, goal: list[str]) -> Float32[np.ndarray, "7"]:
    kind, name, *target = goal
    if kind in ("on", "in"):
        return bring(scene, name, target[0])
    joint = scene.joint_of(name)
    if kind == "turnon":
        return turn(scene, joint, name)
    if kind == "open":
        return pull_open(scene, joint)
    return push_shut(scene, joint)


def bring(scene: Scene, name: str, region: str) -> Float32[np.ndarray, "7"]:
    """Return the action that brings a thing to a region, or on another thing."""
    drawer = scene.drawer_of(region)
    at_handle = scene.pointing[2] > -0.7
    if drawer is not None and drawer.value > PULLED - FURTHER * at_handle:
        return pull_open(scene, drawer)
    points = scene.points(name)
    destination = _destination(scene, region, name)
    way = _way(points, destination.place)
    if np.ptp(points[:, 2]) < FLAT and np.ptp(points[:, :2], axis=0).min() > WIDEST:
        return drag(scene, name, way)
    if destination.inward is None and at_handle:
        return turn_down(scene, drawer)
    grasp = top_grasp(scene, name, inward=destination.inward, way=way)
    low = -LET_GO if not scene.rests(name) else -4 * LET_GO
    if np.hypot(*way[:2]) < ARRIVED and low < way[2]:
        back = 0.1 if scene.gap > grasp.width + LOOSE else 0.0
        return scene.move_turned(scene.hand - back * scene.pointing, scene.turned, close=False)
    if not held(scene, grasp):
        door = destination.door
        if door is not None and door.value > WIDE_OPEN:
            return push_door(scene, door, shut=False)
        return pick(scene, grasp, name)
    if destination.inward is not None:
        return put_inside(scene, grasp, way, destination.inward)
    if drawer is not None and _under(points, scene.points_of_body(drawer.body)):
        return scene.move_turned(
            scene.hand + 0.04 * drawer.out + 0.01 * UP, scene.turned, close=True
        )
    below = scene.hand[2] - points[:, 2].min()
    height = scene.height_on_the_way(scene.hand + way, but=name) + ABOVE + below
    clear = max(destination.clear, height - scene.hand[2] - way[2])
    yaw = scene.yaw if destination.yaw is None else destination.yaw  # it may turn in the hand
    ahead = scene.hand + AHEAD * way / max(float(np.hypot(*way[:2])), AHEAD)
    near = scene.height_on_the_way(ahead, but=name) + below + ABOVE / 2
    free = bool(scene.hand[2] > near)
    return put(scene, yaw, way, clear=clear, free=free)


def _under(points: Float[np.ndarray, "point 3"], drawer: Float[np.ndarray, "corner 3"]) -> bool:
    """Return whether a thing stands below an open drawer, which it would hit on its way up."""
    beside = (points[:, :2].max(axis=0) < drawer[:, :2].min(axis=0) - 0.01) | (
        points[:, :2].min(axis=0) > drawer[:, :2].max(axis=0) + 0.01
    )
    return bool(not beside.any() and points[:, 2].max() < drawer[:, 2].max())


def _way(
    points: Float[np.ndarray, "point 3"], place: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """Return the way of the middle of a thing's lower side to a place."""
    middle = (points[:, :2].max(axis=0) + points[:, :2].min(axis=0)) / 2
    return np.array([*(place[:2] - middle), place[2] - points[:, 2].min()])


def put(
    scene: Scene, yaw: float, way: Float[np.ndarray, "3"], *, clear: float, free: bool
) -> Float32[np.ndarray, "7"]:
    """Return the action that carries a held thing.

    Args:
        scene: The scene.
        yaw: How the hand is turned, rad.
        way: Way of its lower side, metres.
        clear: Height above the end of the way at which it is carried, metres.
        free: Whether it is above all that is near on its way: else it goes up before to the side.
    """
    way = way.copy()
    way[2] += np.clip((np.hypot(*way[:2]) - 0.012) / 0.02, 0, 1) * clear
    if way[2] > 0.02 and not free:
        way[:2] *= np.clip(1 - (way[2] - 0.02) / 0.04, 0, 1)
    return scene.move(scene.hand + way, yaw=yaw, close=True)


def put_inside(
    scene: Scene, grasp: Grasp, way: Float[np.ndarray, "3"], inward: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "7"]:
    """Return the action that carries a held thing in front of an opening, and then in."""
    along = float(way @ inward)
    aside = way - along * inward
    if along > 0.03:
        aside[2] += 0.012  # over the edge
    outside = 0.15
    step = along if np.linalg.norm(aside) < 0.015 or along < 0.03 else along - outside
    return scene.move_turned(scene.hand + aside + step * inward, grasp.turned, close=True)


def pull_open(scene: Scene, drawer: FurnitureJoint) -> Float32[np.ndarray, "7"]:
    """Return the action that opens a drawer: from the front to its handle, close, and back.

    The hand points down a little, so that the upper finger goes behind the handle.
    """
    out = drawer.out
    front = drawer.front(scene)
    yaw = yaw_along(out)
    forward = float(np.sign(hand_turned(yaw, np.pi / 2).as_matrix()[:, 2] @ -out))
    wanted = hand_turned(yaw, forward * (np.pi / 2 - SIDEWAYS))
    pointing = wanted.as_matrix()[:, 2]
    handle = (front.max(axis=0) + front.min(axis=0)) / 2 + 0.008 * pointing
    before, away = scene.before(handle, pointing)
    aside, turned = float(np.linalg.norm(away)), _turn_between(wanted, scene.turned)
    thick = float(np.ptp(front[:, 2]))
    around = scene.gap > 0.6 * thick
    if aside < 0.02 and turned < 0.3 and abs(before) < 0.03:
        if scene.closed and around:
            return scene.move_turned(scene.hand + 0.02 * out, wanted, close=True)
        if abs(before) < 0.012 and not (scene.closed and not around):
            return scene.move_turned(handle, wanted, close=True)
    if scene.gap < 0.04 and before < 0.06:  # it slipped off
        return scene.move_turned(handle - 0.1 * pointing, wanted, close=False)
    if aside > 0.015 or turned > 0.3:
        back = max(0.1, min(before, 0.14))
        return scene.move_turned(handle - back * pointing, wanted, close=False)
    return scene.move_turned(handle, wanted, close=False)


def _turn_between(one: Rotation, other: Rotation) -> float:
    """Return the angle between two rotations of the hand, rad; half a turn exchanges fingers."""
    half = Rotation.from_euler("z", np.pi)
    return float(min((one * other.inv()).magnitude(), (one * half * other.inv()).magnitude()))


def turn_down(scene: Scene, drawer: FurnitureJoint | None) -> Float32[np.ndarray, "7"]:
    """Return the action of a hand that points sideways: off a drawer's handle, then down."""
    if scene.gap < OPEN - 0.01:  # else it would take the drawer along
        return scene.move_turned(scene.hand, scene.turned, close=False)
    if drawer is not None:
        front = float((scene.points_of_body(drawer.body) @ drawer.out).max())
        if scene.hand @ drawer.out < front + 0.08:
            return scene.move_turned(scene.hand - 0.1 * scene.pointing, scene.turned, close=False)
    return scene.move(scene.hand + 0.03 * UP, close=False)


def push_shut(scene: Scene, joint: FurnitureJoint) -> Float32[np.ndarray, "7"]:
    """Return the action that closes a drawer or a door: with closed fingers against its front."""
    inside = [goal[1] for goal in scene.world.parsed_problem["goal_state"] if goal[0] == "in"]
    for thing in inside:  # off what was put in
        nearest = np.linalg.norm(scene.points(thing) - scene.hand, axis=1).min()
        if nearest < 0.07 and scene.gap > 0.01:
            return scene.move_turned(scene.hand - 0.1 * scene.pointing, scene.turned, close=False)
    if abs(joint.axis[2]) > 0.7:
        return push_door(scene, joint, shut=True)
    front = joint.front(scene)
    middle = (front.max(axis=0) + front.min(axis=0)) / 2
    contact, direction = middle + 0.01 * joint.out, -joint.out
    # It leans back, because other handles stand out above.
    across = yaw_along(np.cross(direction, UP))
    towards = float(np.sign(hand_turned(across, lean=0.5).as_matrix()[:, 2] @ direction))
    wanted = hand_turned(across, lean=towards * BACK)
    over = float(scene.points_of_body(joint.body)[:, 2].max()) + 0.08
    return shove(scene, contact, direction, wanted, over=over)


def push_door(scene: Scene, door: FurnitureJoint, *, shut: bool) -> Float32[np.ndarray, "7"]:
    """Return the action that turns a door, at 70 % of its width, from one side or the other."""
    points = scene.points_of_body(door.body)
    top = float(points[:, 2].max())
    arm = Rotation.from_rotvec(door.value * door.axis).apply(_shut_arm(scene, door))
    direction = np.cross(door.axis, arm) * (1.0 if shut else -1.0)
    along = (points - door.anchor) @ arm
    # The half beside the hinge alone is read: in the other one the handle stands out.
    side = float(((points - door.anchor) @ direction)[along < 0.5 * along.max()].min())
    contact = door.anchor + 0.7 * along.max() * arm + (side - 0.005) * direction
    contact[2] = top - 0.03
    return shove(scene, contact, direction, hand_turned(yaw_along(direction)), over=top + 0.08)


def _shut_arm(scene: Scene, door: FurnitureJoint) -> Float[np.ndarray, "3"]:
    """Return the level direction from a door's hinge to its end when it is shut.

    It is an axis of the world, as all ovens of LIBERO stand.
    """
    points = scene.points_of_body(door.body)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2 - door.anchor
    arm = Rotation.from_rotvec(-door.value * door.axis).apply(middle)
    arm[2] = 0.0
    return np.round(arm / np.linalg.norm(arm))


def drag(scene: Scene, name: str, way: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "7"]:
    """Return the action that drags something flat, as a plate is, under fingers that press on it.

    They press before its middle, so that it follows and does not turn away.
    """
    points = scene.points(name)
    direction = np.array([*way[:2], 0.0]) / max(float(np.hypot(*way[:2])), 1e-6)
    place = (points.max(axis=0) + points.min(axis=0)) / 2 + 0.02 * direction
    place[2] = points[:, 2].min() + FINGERS
    error = place - scene.hand
    aside, height = float(np.hypot(*error[:2])), float(-error[2])
    if aside < 0.035 and height < 0.015:
        step = 0.05 if height < 0.01 and scene.closed else 0.0
        return scene.move(scene.hand + step * direction - 0.02 * UP, close=True)
    if aside > 0.015:
        place[2] = max(points[:, 2].max() + 0.06, scene.height_on_the_way(place, but=name) + ABOVE)
        if height < place[2] - points[:, 2].min() - FINGERS - 0.03:  # up before to the side
            place[:2] = scene.hand[:2]
    return scene.move(place, close=True)


def shove(
    scene: Scene,
    contact: Float[np.ndarray, "3"],
    direction: Float[np.ndarray, "3"],
    wanted: Rotation,
    *,
    over: float,
) -> Float32[np.ndarray, "7"]:
    """Return the action that pushes with closed fingers: over everything, down behind, and on.

    Args:
        scene: The scene.
        contact: Where the hand touches, metres.
        direction: Where it pushes, level.
        wanted: How the hand is turned.
        over: Height at which it comes, metres.
    """
    before, away = scene.before(contact, direction)
    aside = float(np.hypot(*away[:2]))
    if -0.03 < before < 0.06 and aside < 0.02 and abs(away[2]) < 0.015:
        return scene.move_turned(scene.hand + away + 0.05 * direction, wanted, close=True)
    start = contact - BEHIND * direction
    if np.hypot(*(start - scene.hand)[:2]) > 0.02:
        start[2] = over
        if scene.hand[2] < over - 0.02:  # up before to the side
            start[:2] = scene.hand[:2]
    return scene.move_turned(start, wanted, close=True)


def turn(scene: Scene, knob: FurnitureJoint, name: str) -> Float32[np.ndarray, "7"]:
    """Return the action that turns a knob: its ridge between the fingers, and the wrist around."""
    points = scene.points_of_body(knob.body)
    ridge = points[points[:, 2] > points[:, 2].max() - 0.015]
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    across = np.stack([np.cos(angles), np.sin(angles)])
    width = np.ptp(ridge[:, :2] @ across, axis=0)
    best = int(width.argmin())
    middle = (ridge.max(axis=0) + ridge.min(axis=0)) / 2
    place = np.array([*middle[:2], points[:, 2].max() - 0.012])
    grasp = Grasp(place, yaw_along(np.array([*across[:, best], 0.0])), float(width[best]))
    before, aside = scene.before(place, grasp.pointing)
    if scene.closed and np.linalg.norm(aside) < 2 * NEAR and abs(before) < 2 * DEPTH:
        return scene.move(place, yaw=scene.yaw + 0.4, close=True)
    return pick(scene, grasp, name)


@dataclass(frozen=True)
class Destination:
    """Where a thing is put."""

    place: Float[np.ndarray, "3"]
    """Where the middle of its lower side is let go, metres."""
    clear: float = 0.0
    """How far above that it is carried, metres."""
    yaw: float | None = None
    """How the hand is turned there, where the place is long and narrow."""
    inward: Float[np.ndarray, "3"] | None = None
    """The direction in which it goes in, where the place is under a roof."""
    door: FurnitureJoint | None = None
    """The door before it, if it has one."""


def _destination(scene: Scene, name: str, thing: str) -> Destination:
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
        goals = scene.world.parsed_problem["goal_state"]
        beside = [goal[1] for goal in goals if goal[0] == "on" and goal[2] == name]
        place[0] += APART * (beside.index(thing) - (len(beside) - 1) / 2)
        return Destination(place, 0.1)
    drawer, door = scene.drawer_of(name), scene.door_of(site.parent_name)
    if door is not None:
        return _inside(scene, site.parent_name, door, place)
    if drawer is not None:
        top = scene.points_of_body(drawer.body)[:, 2].max()
        # In the middle of the part that is outside the cabinet.
        cabinet = scene.points_of_body(scene.model.body_parentid[drawer.body])
        edge, end = (
            (cabinet @ drawer.out).max(),
            place @ drawer.out + np.abs(drawer.out @ turned) @ half,
        )
        place += ((edge + end) / 2 - place @ drawer.out) * drawer.out
    else:
        top = scene.points(site.parent_name)[:, 2].max()
    # Things fall the rest of the way.
    place[2] = max(place[2] - height + 0.02, top - 0.06)
    flat = sorted((axis for axis in range(3) if abs(turned[2, axis]) < 0.7), key=lambda a: half[a])
    narrow = half[flat[0]] < 0.6 * half[flat[-1]]
    return Destination(place, 0.08, yaw_along(turned[:, flat[0]]) if narrow else None)


def _inside(
    scene: Scene, oven: str, door: FurnitureJoint, place: Float[np.ndarray, "3"]
) -> Destination:
    """Return where a thing goes in an oven: on its floor, between its walls, behind its door."""
    inward = np.cross(door.axis, _shut_arm(scene, door))
    sideways = np.cross(inward, UP)
    body = scene.world.obj_body_id[oven]
    boxes = scene.points_of_body(body).reshape(-1, 8, 3) - place
    walls = [box @ sideways for box in boxes if np.abs((box @ inward).mean()) < 0.03]
    left = max(wall.max() for wall in walls if wall.max() < 0)
    right = min(wall.min() for wall in walls if wall.min() > 0)
    floor = max(box[:, 2].max() for box in boxes if box[:, 2].max() < 0)
    shift = (left + right) / 2 * sideways + (floor + 0.002) * UP
    return Destination(place + shift - 0.01 * inward, inward=inward, door=door)
