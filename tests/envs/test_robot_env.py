"""What every environment of a suite inherits: spaces, pictures by camera, actions checked."""

import numpy as np
import pytest

from eyehand.envs.robot_env import Expert, Landmarks, Masks
from eyehand.envs.two_ways import TwoWaysEnv
from eyehand.types import InputError


def test_observations_are_of_the_spaces_with_and_without_pictures() -> None:
    for rendered in (True, False):
        env = TwoWaysEnv(cameras={"top": 12}, render_observations=rendered)
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        assert set(observation["image"]) == ({"top"} if rendered else set())
        assert env.pictures()["top"].shape == env.render().shape == (12, 12, 3)
        assert env.metadata["render_fps"] == 10


def test_actions_are_checked_and_clipped() -> None:
    env = TwoWaysEnv(cameras={"top": 8})
    np.testing.assert_array_equal(env.checked_action(np.array([5, -0.5])), [1, -0.5])
    with pytest.raises(InputError, match=r"2 numbers. Got an array of shape \(3,\)"):
        env.checked_action(np.zeros(3))
    with pytest.raises(InputError, match=r"finite numbers.*inf"):
        env.checked_action(np.array([0, np.inf]))


@pytest.mark.parametrize("cameras", [{}, {"top": 0}])
def test_a_picture_has_a_pixel(cameras: dict[str, int]) -> None:
    with pytest.raises(InputError, match="needs a camera, and 1 pixel or more"):
        TwoWaysEnv(cameras=cameras)


def test_what_an_environment_can_do_is_asked_of_its_type() -> None:
    env = TwoWaysEnv(cameras={"top": 8})
    assert isinstance(env, Expert)
    assert not isinstance(env, Landmarks | Masks)
