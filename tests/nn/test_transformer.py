"""The causal transformer: a written formula, and cached equals uncached."""

import pytest
import torch
from torch import nn

from eyehand.nn.transformer import CausalTransformer


@pytest.fixture
def model() -> CausalTransformer:
    torch.manual_seed(0)
    return CausalTransformer(12, depth=3, heads=2, head_dim=4).double()


@pytest.mark.parametrize("cuts", [(1, 2, 3, 4), (3,), (2, 3)])
def test_token_by_token_equals_the_whole(model: CausalTransformer, cuts: tuple[int, ...]) -> None:
    x = torch.randn(2, 5, 12).double()
    want, caches = model(x)
    parts, kept = [], None
    for begin, end in zip((0, *cuts), (*cuts, 5), strict=True):
        part, kept = model(x[:, begin:end], caches=kept)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), want, rtol=0, atol=1e-12)
    assert kept is not None
    for got, cache in zip(kept, caches, strict=True):
        torch.testing.assert_close(got, cache, rtol=0, atol=1e-12)


def test_the_future_does_not_count_and_the_past_does(model: CausalTransformer) -> None:
    x = torch.randn(1, 5, 12).double()
    changed = x.clone()
    changed[:, 2] = torch.randn(12)
    before, after = model(x)[0], model(changed)[0]
    assert torch.equal(after[:, :2], before[:, :2])
    assert all(not torch.allclose(after[:, t], before[:, t]) for t in (2, 3, 4))


def test_padding_before_the_first_token_counts_for_nothing(model: CausalTransformer) -> None:
    x = torch.randn(2, 5, 12).double()
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, :2] = False
    got, _ = model(x, mask=mask)
    assert got.isfinite().all()
    alone, _ = model(x[:1, 2:])
    torch.testing.assert_close(got[:1, 2:], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(got[1:], model(x[1:])[0], rtol=0, atol=1e-12)


def test_every_weight_gets_a_gradient(model: CausalTransformer) -> None:
    model(torch.randn(2, 5, 12).double())[0].square().sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_one_block_is_the_written_formula(model: CausalTransformer) -> None:
    """One token attends to itself alone, so what comes out is its value."""
    x = torch.randn(3, 1, 12).double()
    block = CausalTransformer(12, depth=1, heads=2, head_dim=4).double()
    value = block.attentions[0].to_query_key_value.weight[16:]
    inner = nn.functional.layer_norm(x, (12,)) @ value.T
    y = x + inner @ block.attentions[0].to_output.weight.T
    y = y + block.feed_forwards[0](y)
    want = nn.functional.layer_norm(y, (12,))
    torch.testing.assert_close(block(x)[0], want, rtol=0, atol=1e-12)
