from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from eyehand.nn.quantizer import codebook_use
from eyehand.policies.heads.vq import VQHeadConfig
from eyehand.types import InputError


def test_it_finds_both_modes(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(VQHeadConfig(codes=4, code_dim=8, dims=(64,)), steps=150)
    assert (chunk.abs() - 0.7).abs().mean() < 0.1
    sign = chunk[:, 0, 0].sign()
    assert 16 <= int((sign > 0).sum()) <= 48
    assert (chunk.sign() == sign[:, None, None]).all()


def test_most_codes_are_in_use_after_training() -> None:
    torch.manual_seed(0)
    head = VQHeadConfig(code_dim=16, dims=(64,)).build(3, horizon=4, action_dim=2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    mask = torch.ones(128, 1, dtype=torch.bool)
    for _ in range(120):
        optimizer.zero_grad()
        action = 2 * torch.rand(128, 1, 1, 2).expand(-1, -1, 4, -1) - 1
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


def test_code_and_offset_are_taught_on_the_vectors_that_were_chosen() -> None:
    """Also when dead codes have been replaced since: one chunk of 200 is unlike the others."""
    torch.manual_seed(0)
    head = VQHeadConfig(codes=2, code_dim=4, dims=(8,)).build(3, horizon=1, action_dim=1)
    for layer in head.quantizer.layers:
        layer.decay, layer.dead_below = 0.9, 0.4
    told: list[Tensor] = []
    found: list[Any] = []
    head.to_code[1].register_forward_pre_hook(lambda _, inputs: told.append(inputs[0][:, -4:]))
    head.to_offset.register_forward_pre_hook(lambda _, inputs: told.append(inputs[0][:, -4:]))
    head.quantizer.layers[0].register_forward_hook(lambda *call: found.append(call[2].quantized))
    head.quantizer.register_forward_hook(lambda *call: found.append(call[2].quantized))
    action = torch.zeros(200, 1, 1, 1)
    action[0] = 1.0
    mask = torch.ones(200, 1, dtype=torch.bool)
    replaced = 0
    for _ in range(30):
        head.loss(torch.zeros(200, 1, 3), action, action_mask=mask[..., None], history_mask=mask)
        for seen, chosen in zip(told, found, strict=True):
            torch.testing.assert_close(seen, chosen.detach())
        codes = head.quantizer.layers[0].encode(head.encoder(action[:, 0, 0]))
        moved = head.quantizer.layers[0].decode(codes) - found[0]
        replaced += bool(moved.norm(dim=1).max() > 0.1)
        told.clear()
        found.clear()
    assert replaced


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
    with pytest.raises(InputError, match=r"VQHeadConfig\.depth must be 1 to 256; got 0"):
        VQHeadConfig(depth=0)
