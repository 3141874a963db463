from typing import Any

import pytest
import torch

from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.types import InputError


def test_only_the_present_frame_counts() -> None:
    torch.manual_seed(0)
    head = MLPHeadConfig(dims=(8,)).build(7, horizon=3, action_dim=4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    feature = torch.randn(2, 5, 7)
    other = feature.clone()
    other[:, :-1] = 0
    assert torch.equal(head.act(feature, history_mask=mask), head.act(other, history_mask=mask))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dims": ()}, r"dims must be positive widths; got \(\)"),
        ({"dims": (8, 0)}, r"dims must be positive widths; got \(8, 0\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        ({"huber_delta": 0.0}, "huber_delta must be > 0; got 0.0"),
    ],
)
def test_configs_that_make_no_head_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"MLPHeadConfig.{sentence}"):
        MLPHeadConfig(**changes)
