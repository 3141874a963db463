import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from eyehand.envs import rendering
from eyehand.envs.metaworld import CAMERA, MetaWorldEnv
from eyehand.envs.rendering import MESH_FACES, Renderer, decimate, probe_backends
from eyehand.types import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYEHAND_CACHE", str(tmp_path))
    return tmp_path / "meshes"


@pytest.fixture(scope="module")
def scene() -> tuple[Any, Any]:
    """Model and data of a simulation that has begun."""
    env = MetaWorldEnv("drawer-open", render_observations=False)
    env.reset(seed=2)
    return env._simulator.model, env._simulator.data


def bumpy_sphere(rings: int = 24) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.linspace(0.1, 3.0, rings), np.linspace(0, 6.28, rings, endpoint=False))
    radius = 1 + 0.05 * np.sin(5 * u) * np.cos(3 * v)
    points = radius[..., None] * np.stack(
        [np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1
    )
    index = np.arange(rings * rings).reshape(rings, rings)
    here, right = index[:, :-1], index[:, 1:]
    below, across = np.roll(here, -1, axis=0), np.roll(right, -1, axis=0)
    faces = np.stack([here, below, right, right, below, across], axis=-1).reshape(-1, 3)
    return points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {
        name: value.copy()
        for name in dir(model)
        if isinstance(value := getattr(model, name), np.ndarray)
    }


def test_decimation_keeps_the_shape(cache: Path) -> None:
    vertices, faces = bumpy_sphere()
    fewer_vertices, fewer_faces = decimate(vertices, faces, count=300)
    assert 200 < len(fewer_faces) <= 360
    assert fewer_faces.min() >= 0
    assert fewer_faces.max() < len(fewer_vertices)
    distance = np.linalg.norm(fewer_vertices[:, None] - vertices, axis=-1).min(axis=1)
    assert distance.max() < 0.15
    np.testing.assert_allclose(np.ptp(fewer_vertices, axis=0), np.ptp(vertices, axis=0), atol=0.1)


def test_decimation_is_cached_by_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = bumpy_sphere()
    made = decimate(vertices, faces, count=300)
    (stored,) = cache.iterdir()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("simplified again")

    with monkeypatch.context() as patch:
        patch.setattr(rendering.fast_simplification, "simplify", fail)
        read = decimate(vertices, faces, count=300)
        for one, two in zip(made, read, strict=True):
            np.testing.assert_array_equal(one, two)
        for changed in ((vertices * 2, faces, 300), (vertices, faces[1:], 300)):
            with pytest.raises(AssertionError, match="again"):
                decimate(*changed[:2], count=changed[2])
        with pytest.raises(AssertionError, match="again"):
            decimate(vertices, faces, count=301)
    stored.write_bytes(stored.read_bytes()[:1000])  # truncated, as after a full disk
    for one, two in zip(made, decimate(vertices, faces, count=300), strict=True):
        np.testing.assert_array_equal(one, two)
    assert stored.stat().st_size > 1000
    assert list(cache.iterdir()) == [stored]


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


def test_big_meshes_are_decimated_and_small_ones_are_not(scene: tuple[Any, Any]) -> None:
    model, _ = scene
    drawn = rendering._decimated(model)
    big = model.mesh_facenum > MESH_FACES
    assert big.sum() == 11  # the links of the robot
    assert drawn.mesh_facenum[big].sum() < 0.25 * model.mesh_facenum[big].sum()
    np.testing.assert_array_equal(drawn.mesh_facenum[~big], model.mesh_facenum[~big])
    for mesh in np.flatnonzero(big):
        first, start = drawn.mesh_faceadr[mesh], drawn.mesh_vertadr[mesh]
        faces = drawn.mesh_face[first : first + drawn.mesh_facenum[mesh]]
        normals = drawn.mesh_facenormal[first : first + drawn.mesh_facenum[mesh]]
        assert faces.max() < drawn.mesh_vertnum[mesh]
        assert 0 <= normals.min() <= normals.max() < drawn.mesh_normalnum[mesh]
        new = drawn.mesh_vert[start : start + faces.max() + 1]
        old = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
        # The simplified link fills the same box, to within a millimetre or two.
        np.testing.assert_allclose(new.min(axis=0), old.min(axis=0), atol=4e-3)
        np.testing.assert_allclose(new.max(axis=0), old.max(axis=0), atol=4e-3)


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


def run(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_nothing_is_said_at_exit_though_mujoco_was_imported_first(opengl: None) -> None:
    done = run(
        "import mujoco\n"
        "from eyehand.envs.metaworld import MetaWorldEnv\n"
        "env = MetaWorldEnv('reach', cameras={'corner4': 8}); env.reset(seed=0)\n"
        "other = MetaWorldEnv('reach', cameras={'corner4': 8}); other.reset(seed=0)\n",
        MUJOCO_GL="",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_triton_is_imported_before_anything_is_drawn(tmp_path: Path) -> None:
    """After it, its LLVM meets Mesa's and the process dies; only CUDA builds of torch bring it."""
    (tmp_path / "triton.py").write_text("import sys; print('mujoco' in sys.modules)")
    done = run(
        "import eyehand.envs.rendering", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Physics works without OpenGL; a picture says what is missing."""
    done = run(
        "from eyehand.envs import rendering\n"
        "from eyehand.envs.metaworld import MetaWorldEnv\n"
        "env = MetaWorldEnv('reach', render_observations=False); env.reset(seed=0)\n"
        "try: env.render()\n"
        "except rendering.InputError as error: print(error)\n",
        MUJOCO_GL="disabled",
    )
    assert done.stdout.startswith("no picture can be drawn")
    assert "MUJOCO_GL='disabled'" in done.stdout
    assert "eyehand doctor" in done.stdout
    assert done.returncode == 0, done.stderr


def test_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"egl", "osmesa", "glfw"}
    monkeypatch.setattr(rendering, "_loadable", lambda name: name in there)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL")
    assert rendering._choose_backend() == "egl"
    there.remove("egl")
    assert rendering._choose_backend() == "osmesa"
    there.remove("osmesa")
    assert rendering._choose_backend() == "disabled"
    monkeypatch.setenv("DISPLAY", ":0")
    assert rendering._choose_backend() == "glfw"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering._choose_backend() == "disabled"
    there.add("osmesa")
    assert rendering._choose_backend() == "osmesa"


def test_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_loadable", lambda name: name != "osmesa")
    monkeypatch.setenv("DISPLAY", ":0")
    script = "import os\nif os.environ['MUJOCO_GL'] == 'glfw': raise ValueError('boom')\nprint(9.5)"
    monkeypatch.setattr(rendering, "_PROBE", script)
    egl, osmesa, glfw = probe_backends()
    assert (egl.name, egl.works, egl.frames_per_second, egl.error) == ("egl", True, 9.5, "")
    assert (osmesa.name, osmesa.works) == ("osmesa", False)
    assert "libOSMesa" in osmesa.error
    assert (glfw.works, glfw.error) == (False, "ValueError: boom")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert probe_backends()[2].error == "there is no display"


@pytest.mark.slow
def test_probe_draws(opengl: None) -> None:
    assert any(backend.works and backend.frames_per_second > 1 for backend in probe_backends())
