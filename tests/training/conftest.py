"""The toy run of ``run_toy.py`` as a fixture: test files cannot import one another."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).with_name("run_toy.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_toy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def small_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare every run the half second that measures this machine."""
    monkeypatch.setattr("eyehand.training.loop.matrix_multiply_peak", lambda *_, **__: 1e9)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
