import pytest
import torch

from eyehand.policies.heads.mlp_history import MLPHistoryHeadConfig
from eyehand.types import InputError


def test_as_many_frames_count_as_it_reads() -> None:
    torch.manual_seed(0)
    head = MLPHistoryHeadConfig(frames=3, dims=(8,)).build(7, horizon=3, action_dim=4)
    feature, mask = torch.randn(2, 5, 7), torch.ones(2, 5, dtype=torch.bool)
    seed = torch.zeros(2, dtype=torch.long)
    chunk = head.act(feature, history_mask=mask, seed=seed)
    for frame, counts in enumerate((False, False, True, True, True)):
        other = feature.clone()
        other[:, frame] += 1
        same = torch.equal(head.act(other, history_mask=mask, seed=seed), chunk)
        assert same != counts, frame


def test_a_window_shorter_than_it_reads_is_filled_with_zeros() -> None:
    torch.manual_seed(0)
    head = MLPHistoryHeadConfig(frames=4, dims=(8,)).build(7, horizon=3, action_dim=4)
    feature, seed = torch.randn(1, 2, 7), torch.zeros(1, dtype=torch.long)
    short = head.act(feature, history_mask=torch.ones(1, 2, dtype=torch.bool), seed=seed)
    padded = torch.cat([torch.full((1, 2, 7), 9.0), feature], dim=1)
    mask = torch.tensor([[False, False, True, True]])
    torch.testing.assert_close(head.act(padded, history_mask=mask, seed=seed), short)


def test_no_frames_are_refused() -> None:
    with pytest.raises(InputError, match=r"HeadConfig\.frames must be 1 to 65,536; got 0"):
        MLPHistoryHeadConfig(frames=0)
