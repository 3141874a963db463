"""Experts of our own for Meta-World's tasks of picking something up.

Meta-World's scripted experts decide by the hand's distance from the object alone. They turn from
down to up at one height, whether the fingers hold anything or not. The hand then goes up and down
around that height, and a policy that imitates them by regression learns the mean of down and up,
and stands still there. Where the fingers have closed on nothing
they keep them closed. So they are hard to imitate and cannot correct a policy's errors.

These experts have three rules.

- What they do follows from what a policy sees: the hand, the opening of the fingers, the picture.
  The object is held if the fingers are near it and have closed to its width.
- On the way to the object they change smoothly: the farther the hand is to the side of it, the
  higher it is asked to be, so nothing flips at a threshold but the fingers.
- Fingers that have closed on nothing are opened on the way up.

How often they succeed where Meta-World's do not: docs/log.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

GAIN = 12.0
"""Action per metre between the hand and where it should be; an action of 1 moves it by 1 cm."""
NEAR = 0.03
"""Distance to the side, and in height, at which the fingers can be around the object, metres."""
ASIDE, DEPTH = 0.012, 0.018
"""Distance to the side within which the hand is asked to be wholly down, and in height at which the
fingers may begin to close, metres; to close, the hand may be half a centimetre farther aside."""
EMPTY = 0.03
"""Opening below which nothing is between the fingers."""
SLOPE = 4.0
"""How much higher the hand is asked to be for each metre to the side of the object."""


@dataclass(frozen=True)
class Scene:
    """What an expert sees of the world, metres, and the fingers' opening, 0 to 1."""

    hand: Float[np.ndarray, "3"]
    opening: float
    first: Float[np.ndarray, "3"]
    """The object that is picked up."""
    second: Float[np.ndarray, "3"]
    """What it is used on."""
    goal: Float[np.ndarray, "3"]

    @classmethod
    def of(cls, observation: Float[np.ndarray, "39"]) -> "Scene":
        """Read Meta-World's privileged observation."""
        return cls(
            observation[:3],
            float(observation[3]),
            observation[4:7],
            observation[11:14],
            observation[36:39],
        )


Carry = Callable[[Scene], Float[np.ndarray, "3"]]
"""Where the held object goes: the hand's displacement, in action units, clipped later."""


@dataclass(frozen=True)
class PickExpert:
    """Above the object, down with open fingers, close, and carry.

    Args:
        carry: What to do with the held object.
        grip: From the object's place to where the hand seizes it, metres.
        held: Opening below which the fingers have closed to the object's width.
        above: Height over ``grip`` from which the hand comes down, metres.
        open: Opening above which the fingers are open.
        walls: Least and largest y at which the hand may go down, metres: walls stand beside it.
    """

    carry: Carry
    grip: tuple[float, float, float]
    held: float
    above: float = 0.12
    open: float = 0.92
    walls: tuple[float, float] = (-np.inf, np.inf)

    def act(self, scene: Scene) -> Float32[np.ndarray, "4"]:
        """Return the action: displacement, and effort of the fingers, 1 closes."""
        target = scene.first + self.grip
        target[1] = np.clip(target[1], *self.walls)
        error = target - scene.hand
        aside, height = float(np.hypot(*error[:2])), abs(error[2])
        between = aside < NEAR and height < NEAR
        if between and EMPTY < scene.opening < self.held:
            return _action(self.carry(scene), effort=1.0)
        closing = between and self.held <= scene.opening < self.open
        arrived = aside < ASIDE + 0.005 and height < DEPTH and scene.opening >= self.open
        if closing or arrived:
            return _action(GAIN * error, effort=1.0)
        higher = np.clip(SLOPE * (aside - ASIDE), 0, self.above)
        if scene.opening < self.open:  # they open on the way up
            higher = max(higher, 2 * NEAR)
        error[2] += higher
        move = np.clip(GAIN * error, -1, 1)
        # A hand that is far too low goes up before it goes to the side: things may be in the way.
        move[:2] *= np.clip(1 - (error[2] - 0.02) / 0.03, 0, 1)
        return _action(move, effort=-1.0)


def _action(move: Float[np.ndarray, "3"], *, effort: float) -> Float32[np.ndarray, "4"]:
    return np.clip([*move, effort], -1, 1).astype(np.float32)


def _over(scene: Scene, target: Float[np.ndarray, "3"], *, height: float) -> Float[np.ndarray, "3"]:
    """Lift to a height, and the nearer to it the faster to the target."""
    raised = np.clip(1 - (height - 0.01 - scene.hand[2]) / 0.04, 0, 1)
    move = np.clip(GAIN * (target - scene.hand), -1, 1)
    move[:2] *= raised
    if raised < 1:
        move[2] = max(GAIN * (height - scene.hand[2]), move[2] * raised)
    return move


def _lift(scene: Scene) -> Float[np.ndarray, "3"]:
    return np.array([0.0, 0.0, 1.0])


def _out_of_the_box(scene: Scene) -> Float[np.ndarray, "3"]:
    """Out to the side, at the height of the peg."""
    return np.array([1.0, 0.0, GAIN * (0.16 - scene.hand[2])])


def _out_of_the_hole(scene: Scene) -> Float[np.ndarray, "3"]:
    return _over(scene, scene.goal, height=scene.goal[2] - 0.02)


def _into_the_hole(scene: Scene) -> Float[np.ndarray, "3"]:
    move = GAIN * (scene.goal - scene.hand)
    if np.hypot(*(scene.goal - scene.hand)[:2]) > 0.04:
        move[2] = 0.0
    return move


def _into_the_basket(scene: Scene) -> Float[np.ndarray, "3"]:
    return _over(scene, np.array([scene.goal[0], 0.875, 0.35]), height=0.33)


def _onto_the_box(scene: Scene) -> Float[np.ndarray, "3"]:
    return _over(scene, np.array([*scene.goal[:2], 0.15]), height=0.15)


def _onto_the_shelf(scene: Scene) -> Float[np.ndarray, "3"]:
    """Up, to the middle of the shelf, and into it."""
    raised = np.clip(1 - (0.33 - scene.hand[2]) / 0.04, 0, 1)
    aside = scene.goal[0] - scene.hand[0]
    centred = np.clip(1 - (abs(aside) - 0.01) / 0.02, 0, 1)
    return np.array([GAIN * aside, raised * centred, GAIN * (0.345 - scene.hand[2])])


def _along_the_table(scene: Scene) -> Float[np.ndarray, "3"]:
    return np.array([*(GAIN * (scene.goal - scene.hand)[:2]), 0.0])


def _into_the_football_goal(scene: Scene) -> Float[np.ndarray, "3"]:
    """Carried, because a ball that is pushed rolls away."""
    return GAIN * (np.array([*scene.goal[:2], 0.06]) - scene.hand)


def _nearly(error: float, *, at: float, until: float) -> float:
    """Return 1 up to an error, less and less beyond it, and 0 from another one on."""
    return float(np.clip((until - error) / (until - at), 0, 1))


def _into_the_other_bin(scene: Scene) -> Float[np.ndarray, "3"]:
    return _over_and_down(scene, np.array([0.12, 0.7, 0.06]), height=0.18)


def _over_the_wall(scene: Scene) -> Float[np.ndarray, "3"]:
    return _over_and_down(scene, scene.goal + np.array([0, 0, 0.04]), height=0.27)


def _to_the_goal(scene: Scene) -> Float[np.ndarray, "3"]:
    return GAIN * (scene.goal + np.array([0, 0, 0.038]) - scene.hand)


def _over_and_down(
    scene: Scene, target: Float[np.ndarray, "3"], *, height: float
) -> Float[np.ndarray, "3"]:
    """Lift, go to the side, and come down over the target."""
    if np.hypot(*(target - scene.hand)[:2]) < 0.03:
        return GAIN * (target - scene.hand)
    return _over(scene, np.array([*target[:2], height]), height=height - 0.01)


def _mug_to_the_goal(scene: Scene) -> Float[np.ndarray, "3"]:
    return GAIN * (np.array([*scene.goal[:2], 0.08]) - scene.hand)


def _onto_the_nail(scene: Scene) -> Float[np.ndarray, "3"]:
    """Beside the nail and at its height first, then forward."""
    target = np.array([0.05, 0.71, 0.16])
    move = GAIN * (target - scene.hand)
    aside = float(np.hypot(target[0] - scene.hand[0], target[2] - scene.hand[2]))
    move[1] = _nearly(aside, at=0.015, until=0.04)
    return move


def _off_the_table(scene: Scene) -> Float[np.ndarray, "3"]:
    target = np.array([0.5, scene.goal[1], 0.1 if scene.hand[0] < 0.43 else 0.04])
    return GAIN * (target - scene.hand)


def _into_the_hole_of_the_table(scene: Scene) -> Float[np.ndarray, "3"]:
    aside = float(np.hypot(*(scene.goal - scene.hand)[:2]))
    height = 0.05 if aside < 0.03 else 0.1
    return GAIN * (np.array([*scene.goal[:2], height]) - scene.hand)


def _into_the_side_of_the_box(scene: Scene) -> Float[np.ndarray, "3"]:
    """In front of the hole, with the peg at its height, then in."""
    aside, up = scene.goal[1] - scene.first[1], 0.133 - scene.first[2]
    error = float(np.hypot(aside, up))
    inwards = _nearly(error, at=0.012, until=0.03)
    back = GAIN * max(0.05 - scene.hand[0], 0) * (1 - inwards)
    return np.array([back - inwards, GAIN * aside, GAIN * up])


def _onto_the_peg(scene: Scene) -> Float[np.ndarray, "3"]:
    """Over the peg with the ring at the end of the wrench, then down."""
    target = scene.goal + np.array([0.12, 0, 0])
    aside = float(np.hypot(*(target - scene.hand)[:2]))
    if aside < 0.015:
        return np.array([*(GAIN * (target - scene.hand)[:2]), -1.0])
    target[2] += 0.15
    return _over(scene, target, height=target[2] - 0.01)


def _push_the_thermos(scene: Scene) -> Float[np.ndarray, "3"]:
    """Beside the thermos at its height, then forward."""
    aside, up = scene.second[1] - scene.first[1], 0.132 - scene.hand[2]
    error = float(np.hypot(aside, up))
    return np.array([_nearly(error, at=0.01, until=0.03), GAIN * aside, GAIN * up])


def _pull_the_thermos(scene: Scene) -> Float[np.ndarray, "3"]:
    """The stick through the handle, then back."""
    if abs(scene.first[0] - scene.second[0]) < 0.04:
        return 2 * GAIN * (scene.goal - np.array([0.05, 0, 0]) - scene.hand)
    aside, up = scene.second[1] - scene.first[1], scene.second[2] - scene.first[2]
    forward = _nearly(float(np.hypot(aside, up)), at=0.015, until=0.03)
    return np.array([forward, GAIN * aside, GAIN * up])


EXPERTS = {
    "assembly": PickExpert(_onto_the_peg, (-0.015, 0.0, 0.04), held=0.6, above=0.1),
    "basketball": PickExpert(_into_the_basket, (0.0, 0.0, 0.032), held=0.75, above=0.15),
    "bin-picking": PickExpert(
        _into_the_other_bin, (0.0, 0.0, 0.042), held=0.65, above=0.15, walls=(0.675, 0.725)
    ),
    "box-close": PickExpert(_onto_the_box, (0.0, 0.0, 0.055), held=0.75),
    "coffee-pull": PickExpert(_along_the_table, (0.0, 0.0, 0.06), held=0.75),
    "coffee-push": PickExpert(_mug_to_the_goal, (0.01, 0.0, 0.06), held=0.75),
    "disassemble": PickExpert(_lift, (-0.02, 0.0, 0.03), held=0.6, above=0.1),
    "hammer": PickExpert(_onto_the_nail, (-0.035, 0.0, 0.035), held=0.65, above=0.1),
    "hand-insert": PickExpert(_into_the_hole, (0.0, 0.0, 0.035), held=0.7, above=0.1),
    "peg-insert-side": PickExpert(_into_the_side_of_the_box, (0.008, 0.0, 0.024), held=0.5),
    "peg-unplug-side": PickExpert(_out_of_the_box, (-0.02, 0.0, 0.03), held=0.96, open=0.985),
    "pick-out-of-hole": PickExpert(_out_of_the_hole, (0.0, 0.0, 0.025), held=0.5, above=0.13),
    "pick-place": PickExpert(_to_the_goal, (0.0, 0.0, 0.035), held=0.65),
    "pick-place-wall": PickExpert(_over_the_wall, (0.0, 0.0, 0.037), held=0.65, above=0.1),
    "push": PickExpert(_along_the_table, (0.0, 0.0, 0.035), held=0.65),
    "push-back": PickExpert(_along_the_table, (0.0, 0.0, 0.04), held=0.75),
    "shelf-place": PickExpert(_onto_the_shelf, (-0.003, 0.0, 0.035), held=0.7, above=0.15),
    "soccer": PickExpert(_into_the_football_goal, (0.0, 0.0, 0.025), held=0.8, above=0.1),
    "stick-pull": PickExpert(_pull_the_thermos, (-0.01, 0.0, 0.03), held=0.6, above=0.1),
    "stick-push": PickExpert(_push_the_thermos, (0.02, 0.0, 0.035), held=0.6, above=0.1),
    "sweep": PickExpert(_off_the_table, (0.0, 0.0, 0.03), held=0.75),
    "sweep-into": PickExpert(_into_the_hole_of_the_table, (0.0, 0.0, 0.03), held=0.75),
}
"""By task; the other tasks keep Meta-World's."""
