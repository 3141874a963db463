"""Where a hand has room, and which way it points when it takes hold."""

import numpy as np
import pytest

from eyehand.envs.libero_grasps import PALM, WRIST, Grasp, _angle, _blocked

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
        ((0.0, 0.0, 0.0), 0.0),  # what is seized
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
