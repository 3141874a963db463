from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.types import InputError


def test_only_the_present_frame_counts() -> None:
    torch.manual_seed(0)
    head = MLPHeadConfig(dims=(8,)).build(7, horizon=3, action_dim=4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    feature = torch.randn(2, 5, 7)
    other = feature.clone()
    other[:, :-1] = 0
    seed = torch.zeros(2, dtype=torch.long)
    chunk = head.act(feature, history_mask=mask, seed=seed)
    assert torch.equal(head.act(other, history_mask=mask, seed=seed), chunk)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dims": ()}, r"dims must be widths of .*; got \(\)"),
        ({"dims": (8, 0)}, r"dims must be widths of .*; got \(8, 0\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        ({"huber_delta": 0.0}, "huber_delta must be above 0 and finite; got 0.0"),
    ],
)
def test_configs_that_make_no_head_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"MLPHeadConfig.{sentence}"):
        MLPHeadConfig(**changes)


def test_regression_goes_between_the_modes(two_modes: Callable[..., Tensor]) -> None:
    """What the generative heads are for: the mean of two ways is neither."""
    config = MLPHeadConfig(dims=(32,), huber_delta=1.0, gripper_weight=0.0)
    chunk = two_modes(config, falls=False)
    assert chunk[..., 0].abs().max() < 0.1
