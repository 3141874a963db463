"""Positions: against Llama's rotary code and worked numbers."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from eyehand.nn.position import rotary, sinusoids


def test_rotary_matches_llama() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    theirs = LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=24,
            num_attention_heads=3,
            head_dim=8,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    )
    position = torch.tensor([0, 1, 2, 7, 30])
    cos, sin = theirs(query, position[None].expand(2, -1))
    wanted = apply_rotary_pos_emb(query, key, cos, sin)
    for got, want in zip((query, key), wanted, strict=True):
        torch.testing.assert_close(rotary(got, position), want, rtol=0, atol=1e-5)


def test_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(6, 16).double(), torch.randn(6, 16).double()
    position = torch.arange(6)
    here = rotary(query, position) @ rotary(key, position).T
    there = rotary(query, position + 41) @ rotary(key, position + 41).T
    torch.testing.assert_close(there, here, rtol=0, atol=1e-12)
    moved = rotary(query, position) @ rotary(key, position + 1).T
    assert (moved - here).abs().max() > 0.1


def test_rotary_keeps_lengths_and_the_dtype() -> None:
    x = torch.randn(4, 6, dtype=torch.bfloat16)
    got = rotary(x, torch.arange(4))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float().norm(dim=-1), x.float().norm(dim=-1), rtol=0.02, atol=0)


def test_sinusoids_by_hand() -> None:
    got = sinusoids(torch.tensor([0.5]).double(), dim=6, shortest=0.1, longest=10.0)
    angles = [2 * math.pi * 0.5 / period for period in (0.1, 1.0, 10.0)]
    want = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
    torch.testing.assert_close(got, torch.tensor([want], dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [3, 2])
def test_sizes_that_cannot_be_are_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=f"at least 4; got {dim}"):
        sinusoids(torch.zeros(1), dim=dim, shortest=1.0, longest=2.0)


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(ValueError, match="must be even; got 3"):
        rotary(torch.zeros(1, 3), torch.arange(1))
