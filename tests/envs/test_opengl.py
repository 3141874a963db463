import os
import subprocess
import sys
from pathlib import Path

import pytest

from eyehand.envs import opengl as module
from eyehand.envs.opengl import probe_backends


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
        "from eyehand.envs.metaworld import MetaWorldEnv\n"
        "from eyehand.types import InputError\n"
        "env = MetaWorldEnv('reach', render_observations=False); env.reset(seed=0)\n"
        "try: env.render()\n"
        "except InputError as error: print(error)\n",
        MUJOCO_GL="disabled",
    )
    assert done.stdout.startswith("no picture can be drawn")
    assert "MUJOCO_GL='disabled'" in done.stdout
    assert "eyehand doctor" in done.stdout
    assert done.returncode == 0, done.stderr


def test_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"egl", "osmesa", "glfw"}
    monkeypatch.setattr(module, "_loadable", lambda name: name in there)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL")
    assert module._choose_backend() == "egl"
    there.remove("egl")
    assert module._choose_backend() == "osmesa"
    there.remove("osmesa")
    assert module._choose_backend() == "disabled"
    monkeypatch.setenv("DISPLAY", ":0")
    assert module._choose_backend() == "glfw"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert module._choose_backend() == "disabled"
    there.add("osmesa")
    assert module._choose_backend() == "osmesa"


def test_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_loadable", lambda name: name != "osmesa")
    monkeypatch.setenv("DISPLAY", ":0")
    script = "import os\nif os.environ['MUJOCO_GL'] == 'glfw': raise ValueError('boom')\nprint(9.5)"
    monkeypatch.setattr(module, "_PROBE", script)
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
