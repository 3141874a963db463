"""Where a hand has room, and which way it points when it takes hold."""

import numpy as np
import pytest

from eyehand.envs.libero_grasps import (
    PALM,
    WRIST,
    Grasp,
    _angle,
    _blocked,
    _handle_grasp,
    _narrow_grasp,
    near_points,
)
from eyehand.envs.libero_scene import Scene, hand_turned

GRASP = Grasp(np.zeros(3), yaw=0.0, width=0.01)
"""Its fingers close along y."""


@pytest.mark.parametrize(
    ("point", "depth"),
    [
        ((0.0, 0.1, 0.08), PALM[0] - 0.1),  # beside the palm's long side
        ((0.1, 0.0, 0.08), 0.0),  # the palm is narrow there
        ((0.03, 0.0, 0.08), PALM[1] - 0.03),
        ((0.0, 0.1, 0.2), 0.0),  # above the palm is the wrist
        ((0.0, 0.05, 0.2), WRIST - 0.05),
        ((0.0, 0.04, 0.0), 0.015),  # an open finger
        ((0.0, 0.02, 0.0), 0.015),  # on the way of a finger that closes
        ((0.0, 0.04, -0.05), 0.0),  # below the fingertips
    ],
)
def test_what_stands_in_the_hand_blocks_it(point: tuple[float, float, float], depth: float) -> None:
    assert _blocked(GRASP, np.array([point])) == pytest.approx(depth)


def test_a_turned_hand_needs_room_elsewhere() -> None:
    beside = np.array([[0.0, 0.1, 0.08]])
    assert _blocked(Grasp(np.zeros(3), yaw=np.pi / 2, width=0.01), beside) == 0


def test_half_a_turn_exchanges_the_fingers() -> None:
    assert _angle(1.5, -1.5) == pytest.approx(np.pi - 3.0)
    assert _angle(np.array([0.2, 0.5]), 0.2) == pytest.approx([0.0, 0.3])


def test_a_hand_that_leans_points_forward() -> None:
    np.testing.assert_allclose(GRASP.pointing, [0, 0, -1], atol=1e-12)
    leaning = Grasp(np.zeros(3), yaw=0.0, width=0.01, tilt=0.75)
    np.testing.assert_allclose(leaning.pointing, [0, np.sin(0.75), -np.cos(0.75)], atol=1e-12)


def narrow(others: list[list[float]], *, firm: bool = False, hand: float = 0.5) -> Grasp:
    """The grasp of a box, 8 cm long in x and 4 cm wide in y."""
    angles = np.linspace(0, np.pi, 36, endpoint=False)
    across = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    yaws = (np.arctan2(-across[:, 0], across[:, 1]) + np.pi / 2) % np.pi - np.pi / 2
    width = np.abs(across) @ [0.08, 0.04]
    scene = Scene.__new__(Scene)  # without a simulator
    scene.turned, scene.firm, scene.hand = hand_turned(0.0), firm, np.array([hand, 0.0, 0.0])
    return _narrow_grasp(scene, np.zeros(3), yaws, width, np.reshape(others, (-1, 3)))


def test_a_long_thing_is_seized_beside_its_middle_where_a_neighbour_is_in_the_way() -> None:
    assert narrow([]).place[0] == 0
    can = [[0.035, 0.1, 0.05]]  # where the palm would be
    assert narrow(can).place[0] == pytest.approx(-0.01)
    assert _blocked(narrow(can), np.array(can)) == 0


def test_what_is_held_is_held_where_it_is() -> None:
    """Above the table nothing is in the way, and the fingers stay where they closed."""
    assert narrow([], firm=True, hand=-0.011).place[0] == pytest.approx(-0.01)


def test_a_handle_is_seized_where_the_hand_comes_from() -> None:
    ring = [[0.04 * np.cos(a), 0.04 * np.sin(a), 0.0] for a in np.linspace(0, 2 * np.pi, 20)]
    handle = [[x, -0.07, z] for x in (-0.005, 0.005) for z in (-0.05, -0.02)]
    mug, inward = np.array(ring + handle), np.array([0.0, 1.0, 0.0])
    grasp = _handle_grasp(mug, np.zeros(3), 0.08, inward)
    assert grasp is not None
    np.testing.assert_allclose(grasp.place, [0, -0.07, -0.035], atol=1e-9)
    assert grasp.width == pytest.approx(0.01)
    assert grasp.pointing @ inward > 0.8
    assert _handle_grasp(mug, np.zeros(3), 0.08, -inward) is None  # it is on the far side
    assert _handle_grasp(np.array(ring), np.zeros(3), 0.08, inward) is None


def test_far_points_are_left_out() -> None:
    points = np.array([[0.1, 0.0, 5.0], [0.3, 0.0, 0.0]])
    assert near_points(points, np.zeros(3)).tolist() == [[0.1, 0.0, 5.0]]
