"""How the LIBERO expert takes hold of things: from above, at a rim, or leaning back."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from eyehand.envs.libero_scene import Scene, hand_turned, yaw_along

WIDEST = 0.07
"""What the fingers can span, metres."""
OPEN = 0.07
"""Distance of the fingers beyond which the hand counts as open, metres."""
REACH = 0.04
"""Distance of an open finger from the hand's middle, metres."""
FINGERS = 0.012
"""Length of the fingertips below the point that the hand's place means, metres."""
NEAR, DEPTH = 0.015, 0.012
"""Distances, to the side and along the hand, within which the fingers may close, metres."""
ABOVE = 0.04
"""How far above things in the way the hand goes, metres."""
PALM, WRIST = (0.11, 0.038), 0.06
"""Half the sizes of the palm, along its fingers' motion and across it, and the radius of the wrist,
metres."""
PALM_BEGINS, WRIST_BEGINS = 0.024, 0.124
"""How far above the place of a grasp they begin, metres."""
REACHED = 0.25
"""Level distance from a thing within which a hand that holds it somewhere could touch, metres."""
SLOPE = 4.0
"""How much higher the hand stays for every metre to the side."""
WALL, RIM = 0.003, 0.01
"""Half the thickness of a wall, and how far below its rim it is seized, metres."""
LEANING, HANDLE_LEANING = 0.75, 1.0
"""How far the hand points forward from below before an oven, rad, so that the palm stays outside:
at a rim, and at a handle."""
STANDS_OUT = 0.008
"""What is further outside a rim than this is a handle, metres."""


@dataclass(frozen=True)
class Grasp:
    """How the hand holds a thing."""

    place: Float[np.ndarray, "3"]
    """Where the fingertips close, metres."""
    yaw: float
    """How the hand is turned about the vertical, rad: at 0 the fingers close along y."""
    width: float
    """Thickness of what is between the fingers, metres."""
    tilt: float = 0.0
    """How far it points up from below, rad; see `hand_turned`."""
    lean: float = 0.0
    """How far it points up from below across its fingers, rad."""

    @property
    def turned(self) -> Rotation:
        """The hand's rotation."""
        return hand_turned(self.yaw, self.tilt, lean=self.lean)

    @property
    def pointing(self) -> Float[np.ndarray, "3"]:
        """The direction from the wrist to the fingertips."""
        return self.turned.as_matrix()[:, 2]


def top_grasp(
    scene: Scene,
    name: str,
    *,
    inward: Float[np.ndarray, "3"] | None = None,
    way: Float[np.ndarray, "3"] | None = None,
) -> Grasp:
    """Return the grasp across the narrowest width, or at the rim of what is too wide.

    It is found in the frame of the thing, so that it stays where it is when the thing tilts in the
    hand.

    Args:
        scene: The scene.
        name: The thing.
        inward: Where it goes into an oven, in which direction: then it is seized by a hand that
            leans back, at a handle or at the rim's side that stays outside.
        way: How far it is carried, metres: a rim's side is better where the hand has room there.
    """
    place, turned = scene.pose(name)
    points = (scene.points(name) - place) @ turned  # in the frame of the thing
    up = int(np.abs(turned[2]).argmax())  # which of its axes is the vertical one
    sign = np.sign(turned[2, up])
    high, low = (sign * points[:, up]).max(), (sign * points[:, up]).min()
    flat = [axis for axis in range(3) if axis != up]
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    across = np.zeros((36, 3))
    across[:, flat] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    yaws = np.array([yaw_along(turned @ direction) for direction in across])
    others = scene.others(name)
    if inward is None:
        width = np.ptp(points @ across.T, axis=0)
        if width.min() <= WIDEST:
            middle = (points.max(axis=0) + points.min(axis=0)) / 2
            depth = max(high - 0.03, (high + low) / 2, low + FINGERS)
            middle[up] = sign * min(depth, high - 0.005)
            return _narrow_grasp(
                scene,
                place + turned @ middle,
                yaws,
                width,
                near_points(others, place),
            )
    # The rim alone: a handle may stick out below it.
    ring = points[sign * points[:, up] > high - 0.015]
    middle = (ring.max(axis=0) + ring.min(axis=0)) / 2
    width = np.ptp(ring @ across.T, axis=0)
    grasps = []
    for number in range(0, 36, 3):
        for side in (-1, 1):
            rim = middle + side * (width[number] / 2 - WALL) * across[number]
            rim[up] = sign * (high - RIM)
            grasps.append(Grasp(place + turned @ rim, float(yaws[number]), 0.006))
    if inward is not None:
        grasp = _handle_grasp(
            place + points @ turned.T, place + turned @ middle, width.max(), inward
        )
        if grasp is not None:
            return grasp
        outermost = min(grasps, key=lambda grasp: float(grasp.place @ inward))
        yaw = yaw_along(inward)
        forward = float(np.sign(hand_turned(yaw, np.pi / 2).as_matrix()[:, 2] @ inward))
        return Grasp(outermost.place, yaw, outermost.width, tilt=forward * LEANING)
    ways = [np.zeros(3)] if way is None else [np.zeros(3), way]
    around = [near_points(others, place + step) for step in ways]

    def cost(grasp: Grasp) -> float:
        distance = float(np.hypot(*(grasp.place - scene.hand)[:2]))
        if distance < 2 * NEAR and scene.firm:
            return distance - 1.0
        turn = 0.05 * float(_angle(grasp.yaw, scene.yaw))
        blocked = [
            _blocked(replace(grasp, place=grasp.place + step), points)
            for step, points in zip(ways, around, strict=True)
        ]
        stretched = float(np.linalg.norm(grasp.place + ways[-1] - scene.base))
        return distance + turn + stretched + 20 * sum(blocked) + 0.3 * sum(map(bool, blocked))

    return min(grasps, key=cost)


def _handle_grasp(
    points: Float[np.ndarray, "point 3"],
    middle: Float[np.ndarray, "3"],
    width: float,
    inward: Float[np.ndarray, "3"],
) -> Grasp | None:
    """Return the grasp at a handle that stands out where the hand comes from, if there is one."""
    handle = points[np.hypot(*(points - middle)[:, :2].T) > width / 2 + STANDS_OUT]
    if len(handle) == 0:
        return None
    place = (handle.max(axis=0) + handle.min(axis=0)) / 2
    if (place - middle) @ inward > -0.8 * np.linalg.norm((place - middle)[:2]):
        return None
    across = np.cross(inward, [0.0, 0.0, 1.0])
    yaw = yaw_along(across)
    forward = float(np.sign(hand_turned(yaw, lean=0.5).as_matrix()[:, 2] @ inward))
    return Grasp(place, yaw, float(np.ptp(handle @ across)), lean=forward * HANDLE_LEANING)


def _narrow_grasp(
    scene: Scene,
    middle: Float[np.ndarray, "3"],
    yaws: Float[np.ndarray, " direction"],
    width: Float[np.ndarray, " direction"],
    others: Float[np.ndarray, "point 3"],
) -> Grasp:
    """Return the grasp across the narrowest width at which nothing stands in the hand's way.

    Of widths that are nearly the same the nearest to how the hand is turned is taken; what is long
    is seized beside its middle where the palm would touch a neighbour there.
    """
    best = int((width + 0.01 * _angle(yaws, scene.yaw)).argmin())
    # Fingers that are 3 cm from the end still hold it.
    spare = float(width[(best + 18) % 36]) / 2 - 2 * NEAR
    grasps = []
    for number in (best, *np.flatnonzero(width < width[best] + 0.004)[::4]):
        along = np.array([np.cos(yaws[number]), np.sin(yaws[number]), 0.0])
        for shift in (0.0, 0.01, -0.01, 0.02, -0.02):
            if shift == 0 or abs(shift) <= spare:
                place = middle + shift * along
                grasps.append(Grasp(place, float(yaws[number]), float(width[number])))
    if scene.firm:
        nearest = min(grasps, key=lambda grasp: float(np.linalg.norm(grasp.place - scene.hand)))
        if np.linalg.norm(nearest.place - scene.hand) < 2 * NEAR:
            return nearest
    return min(grasps, key=lambda grasp: _blocked(grasp, others))


def near_points(
    points: Float[np.ndarray, "point 3"], place: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "near 3"]:
    """Return the points that a hand at a thing could touch, for `_blocked` to look at."""
    return points[np.hypot(*(points - place)[:, :2].T) < REACHED]


def _angle(one: Any, other: float) -> Any:
    """Return how far a hand has to turn, rad: half a turn exchanges its fingers."""
    return np.abs((one - other + np.pi / 2) % np.pi - np.pi / 2)


def _blocked(grasp: Grasp, points: Float[np.ndarray, "point 3"]) -> float:
    """Return how deep something stands where palm, wrist or closing fingers would be, metres."""
    way = points - grasp.place
    along = np.array([-np.sin(grasp.yaw), np.cos(grasp.yaw)])
    fingers, flat = np.abs(way[:, :2] @ along), np.abs(way[:, :2] @ [along[1], -along[0]])
    height = way[:, 2]
    palm = np.minimum(PALM[0] - fingers, PALM[1] - flat)[
        (height > PALM_BEGINS) & (height < WRIST_BEGINS)
    ]
    wrist = (WRIST - np.hypot(way[:, 0], way[:, 1]))[height > WRIST_BEGINS]
    finger = np.minimum(REACH + 0.017 - fingers, 0.015 - flat)[height > -FINGERS]
    return float(max(part.max(initial=0.0) for part in (palm, wrist, finger)))


def held(scene: Scene, grasp: Grasp) -> bool:
    """Return whether the fingers are around a thing and closed on it."""
    before, aside = scene.before(grasp.place, grasp.pointing)
    return bool(
        np.linalg.norm(aside) < 2 * NEAR
        and abs(before) < 2.5 * DEPTH
        and scene.gap < grasp.width + 0.012
        and scene.firm
    )


def pick(scene: Scene, grasp: Grasp, name: str) -> Float32[np.ndarray, "7"]:
    """Return the action on the way to a grasp: over it, down with open fingers, close."""
    error = grasp.place - scene.hand
    aside = float(np.hypot(*error[:2]))
    if aside < NEAR and abs(error[2]) < DEPTH:
        return scene.move_turned(grasp.place, grasp.turned, close=True)
    higher = float(np.clip(SLOPE * (aside - 0.01), 0, 0.12))
    if scene.gap < OPEN - 0.01 and aside > 2 * NEAR:
        higher = max(higher, 0.06)
    target = grasp.place + np.array([0.0, 0.0, higher])
    if aside > 0.02:
        target[2] = max(target[2], scene.height_on_the_way(grasp.place, but=name) + ABOVE)
    if scene.hand[2] < target[2] - 0.03:  # up before to the side
        target[:2] = scene.hand[:2]
    return scene.move_turned(target, grasp.turned, close=False)
