from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eyehand.nn.quantizer import codebook_use
from eyehand.policies.heads.vq import VQHeadConfig
from eyehand.types import InputError


def test_it_finds_both_modes(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(VQHeadConfig(codes=4, code_dim=8, dims=(64,)))
    assert (chunk.abs() - 0.7).abs().mean() < 0.1
    sign = chunk[:, 0, 0].sign()
    assert 16 <= int((sign > 0).sum()) <= 48
    assert (chunk.sign() == sign[:, None, None]).all()


def test_most_codes_are_in_use_after_training() -> None:
    torch.manual_seed(0)
    head = VQHeadConfig(code_dim=16, dims=(64,)).build(3, horizon=4, action_dim=2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    mask = torch.ones(256, 1, dtype=torch.bool)
    for _ in range(400):
        optimizer.zero_grad()
        action = 2 * torch.rand(256, 1, 1, 2).expand(-1, -1, 4, -1) - 1
        head.loss(
            action[:, :, 0, [0, 1, 1]], action, action_mask=mask[..., None].expand(-1, -1, 4),
            history_mask=mask,
        )["loss"].backward()  # fmt: skip
        optimizer.step()
    head.eval()
    chunk = 2 * torch.rand(2048, 1, 2).expand(-1, 4, -1) - 1
    codes = head.quantizer.encode(head.encoder(chunk.flatten(1)))
    for layer in range(2):
        assert codebook_use(codes[:, layer], size=16).share > 0.8


def test_padding_before_an_episode_teaches_no_code() -> None:
    """A window of padding alone, and one with a frame: the codes see the frame only."""
    torch.manual_seed(0)
    head = VQHeadConfig(codes=4, code_dim=8, dims=(16,)).build(3, horizon=4, action_dim=2)
    action = torch.full((2, 2, 4, 2), 9.0)
    action[:, 1] = torch.tensor([0.5, -0.5])
    history_mask = torch.tensor([[False, True], [False, True]])
    head.loss(
        torch.zeros(2, 2, 3), action, action_mask=history_mask[..., None].expand(-1, -1, 4),
        history_mask=history_mask,
    )  # fmt: skip
    seen = head.encoder(action[:1, 1].flatten(1))
    first = head.quantizer.layers[0]
    distance = (first.codebook - seen).norm(dim=1)  # type: ignore[union-attr,operator]
    assert distance.max() < 1e-4


def test_configs_that_make_no_head_are_refused() -> None:
    with pytest.raises(InputError, match=r"VQHeadConfig\.depth must be >= 1; got 0"):
        VQHeadConfig(depth=0)
