from typing import Any

import pytest
import torch

from eyehand.policies.heads.lstm import LSTMHead, LSTMHeadConfig
from eyehand.types import InputError


@pytest.fixture
def head() -> LSTMHead:
    torch.manual_seed(0)
    return LSTMHeadConfig(dim=8, depth=2, dims=(6,)).build(7, horizon=3, action_dim=4).eval()


def test_a_padded_window_equals_the_frames_alone(head: LSTMHead) -> None:
    feature = torch.randn(3, 5, 7)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, :2] = False
    mask[2, :4] = False
    got = head.act(feature, history_mask=mask, seed=torch.zeros(3, dtype=torch.long))
    for row, start in enumerate((0, 2, 4)):
        alone = feature[row : row + 1, start:]
        want = head.act(
            alone,
            history_mask=torch.ones(1, 5 - start, dtype=torch.bool),
            seed=torch.zeros(1, dtype=torch.long),
        )
        torch.testing.assert_close(got[row], want[0], rtol=0, atol=1e-6)


def test_the_past_counts_and_the_future_does_not(head: LSTMHead) -> None:
    feature = torch.randn(1, 5, 7)
    mask = torch.ones(1, 5, dtype=torch.bool)
    changed = feature.clone()
    changed[:, 2] += 1
    before = head.remember(feature, mask)
    after = head.remember(changed, mask)
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.allclose(after[:, 4], before[:, 4])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 0}, "dim must be 1 to 65,536; got 0"),
        ({"dims": (8, 0)}, r"dims must be widths of .*; got \(8, 0\)"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\); got -0.1"),
        ({"huber_delta": -1.0}, "huber_delta must be above 0 and finite; got -1.0"),
    ],
)
def test_configs_that_make_no_head_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"LSTMHeadConfig.{sentence}"):
        LSTMHeadConfig(**changes)
