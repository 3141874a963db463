"""The package as people get it: a wheel that holds everything, and works where no repository is."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.specifiers import SpecifierSet

from eyehand.runs.doctor import PYTHONS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "eyehand"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Templates, the live page, sentences, released weights, py.typed and every module."""
    held = set(ZipFile(wheel).namelist())
    files = (path for path in SOURCE.rglob("*") if path.is_file())
    wanted = {f"eyehand/{path.relative_to(SOURCE).as_posix()}" for path in files}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert sorted(wanted - held) == []
    assert "eyehand/py.typed" in held
    assert "eyehand/released/mt50/model.safetensors" in held


def test_package_doctor_and_makefile_name_the_same_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    named = {(3, minor) for minor in range(8, 20) if allowed.contains(f"3.{minor}.1")}
    assert set(PYTHONS) == named
    assert str(PYTHONS) in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_an_installed_wheel_plays_an_episode(wheel: Path, tmp_path: Path) -> None:
    """Two minutes and 2.1 GB: torch and everything else in an environment of its own."""
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "requirements.lock"]
    subprocess.run([*install, "torch"], check=True)
    subprocess.run([*install, wheel], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python.with_name("eyehand"), "play", "mt50", "--task", "drawer-open"]
    done = subprocess.run(
        [*command, "--out", "x.mp4"],
        cwd=elsewhere,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "success" in done.stdout
    assert (elsewhere / "x.mp4").stat().st_size > 10_000
    shutil.rmtree(tmp_path / "environment")
