from typing import Any

import mujoco
import numpy as np
import pytest

from eyehand.envs import rendering
from eyehand.envs.metaworld import CAMERA, MetaWorldEnv
from eyehand.envs.rendering import Renderer
from eyehand.types import InputError


@pytest.fixture(scope="module")
def scene() -> tuple[Any, Any]:
    """Model and data of a simulation that has begun."""
    env = MetaWorldEnv("drawer-open", render_observations=False)
    env.reset(seed=2)
    return env._simulator.model, env._simulator.data


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {
        name: value.copy()
        for name in dir(model)
        if isinstance(value := getattr(model, name), np.ndarray)
    }


def test_model_is_only_read(scene: tuple[Any, Any], opengl: None) -> None:
    model, data = scene
    before, state = arrays(model), data.qpos.copy()
    renderer = Renderer(model, camera=CAMERA, size=32)
    renderer.render(data)
    renderer.close()
    after = arrays(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)
    np.testing.assert_array_equal(state, data.qpos)


def test_fast_picture_shows_the_same_scene(scene: tuple[Any, Any], opengl: None) -> None:
    model, data = scene
    pictures = []
    for quality in ("fast", "film"):
        renderer = Renderer(model, camera=CAMERA, size=96, quality=quality)
        pictures.append(renderer.render(data).astype(int))
        renderer.close()
    fast, film = pictures
    difference = np.abs(fast - film)
    assert difference.mean() < 12  # shadows and reflections of the tray
    assert np.median(difference) <= 6
    np.testing.assert_allclose(fast[-8:, :8], film[-8:, :8], atol=2)  # the sky, before turning
    assert np.abs(fast - film[::-1]).mean() > 2 * difference.mean()


def test_renderers_do_not_disturb_each_other(scene: tuple[Any, Any], opengl: None) -> None:
    """They share one OpenGL context."""
    model, data = scene
    small, large = (Renderer(model, camera=CAMERA, size=size) for size in (24, 40))
    alone = small.render(data)
    assert large.render(data).shape == (40, 40, 3)
    other = Renderer(model, camera="corner", size=24)
    assert not np.array_equal(other.render(data), alone)
    large.close()
    large.close()
    kept = small.render(data)
    np.testing.assert_array_equal(kept, alone)
    assert not np.shares_memory(kept, alone)
    with pytest.raises(RuntimeError, match="closed"):
        large.render(data)
    small.close()
    other.close()


def test_refuses_what_cannot_be_drawn(scene: tuple[Any, Any]) -> None:
    model, _ = scene
    with pytest.raises(InputError, match="image_size=0"):
        Renderer(model, camera=CAMERA, size=0)
    with pytest.raises(InputError, match="no camera 'corner9'"):
        Renderer(model, camera="corner9", size=16)


SKIES = """
<mujoco><asset><texture type="skybox" builtin="gradient" rgb1="{} {} {}" rgb2="1 0 0"
width="8" height="8"/></asset><worldbody/></mujoco>
"""


def test_only_a_sky_of_one_colour_is_painted() -> None:
    red = mujoco.MjModel.from_xml_string(SKIES.format(1, 0, 0))
    np.testing.assert_array_equal(rendering._sky_colour(red), [255, 0, 0])
    assert rendering._sky_colour(mujoco.MjModel.from_xml_string(SKIES.format(0, 0, 1))) is None
    assert rendering._sky_colour(mujoco.MjModel.from_xml_string("<mujoco/>")) is None
