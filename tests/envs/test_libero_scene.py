"""How a hand is turned, and what the LIBERO expert reads of the simulator."""

import numpy as np
import pytest

from eyehand.envs.libero_scene import hand_turned, yaw_along

ANGLES = np.linspace(-1.5, 1.5, 7)


@pytest.mark.parametrize("yaw", ANGLES)
def test_the_fingers_close_along_the_direction_of_a_yaw(yaw: float) -> None:
    closing, _, pointing = hand_turned(yaw, 0.0).as_matrix().T
    np.testing.assert_allclose(closing, [-np.sin(yaw), np.cos(yaw), 0], atol=1e-12)
    np.testing.assert_allclose(pointing, [0, 0, -1], atol=1e-12)
    assert yaw_along(closing) == pytest.approx(yaw)
    assert yaw_along(-closing) == pytest.approx(yaw)  # half a turn exchanges the fingers


@pytest.mark.parametrize("tilt", ANGLES)
def test_a_tilted_hand_points_up_towards_where_its_fingers_close(tilt: float) -> None:
    yaw = 0.4
    level, _, _ = hand_turned(yaw, 0.0).as_matrix().T
    pointing = hand_turned(yaw, tilt).as_matrix()[:, 2]
    np.testing.assert_allclose(pointing, np.sin(tilt) * level - [0, 0, np.cos(tilt)], atol=1e-12)
