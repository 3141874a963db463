import pytest
from torch import nn

from eyehand.policies.contract import PolicyModule, evaluation_mode


def test_the_mode_comes_back_after_an_error() -> None:
    layer = nn.Sequential(nn.Dropout())
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(layer):
        raise RuntimeError("stop")
    assert layer[0].training


def test_evaluation_mode_stays_evaluation_mode() -> None:
    layer = nn.Dropout().eval()
    with evaluation_mode(layer):
        assert not layer.training
    assert not layer.training


def test_a_policy_without_its_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PolicyModule()  # type: ignore[abstract]
