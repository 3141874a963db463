import pytest
import torch

from eyehand.policies.heads.gpt import GPTHead, GPTHeadConfig
from eyehand.types import InputError


@pytest.fixture
def head() -> GPTHead:
    torch.manual_seed(0)
    config = GPTHeadConfig(dim=16, heads=2, head_dim=8)
    return config.build(7, horizon=3, action_dim=4).eval()


@torch.no_grad()
def test_cached_equals_uncached(head: GPTHead) -> None:
    feature = torch.randn(2, 6, 7)
    chunk = head.act(
        feature, history_mask=torch.ones(2, 6, dtype=torch.bool), seed=torch.tensor([0, 0])
    )
    caches = None
    for time in range(6):
        token = head.to_token(feature[:, time : time + 1])
        memory, caches = head.transformer(token, caches=caches)
    motion, gripper = head.to_action.split(memory[:, -1])
    said = torch.cat([motion, 2 * gripper.sigmoid() - 1], dim=-1)
    torch.testing.assert_close(said, chunk)


@torch.no_grad()
def test_the_past_counts_and_the_future_does_not(head: GPTHead) -> None:
    feature = torch.randn(1, 5, 7)
    changed = feature.clone()
    changed[:, 2] += 1
    before, _ = head.transformer(head.to_token(feature))
    after, _ = head.transformer(head.to_token(changed))
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert not torch.allclose(after[:, 4], before[:, 4])


def test_an_odd_head_dim_is_refused() -> None:
    with pytest.raises(InputError, match=r"GPTHeadConfig\.head_dim must be even; got 7"):
        GPTHeadConfig(head_dim=7)
