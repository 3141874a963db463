"""Against the published implementation that others build on, flamingo-pytorch."""

import torch
from flamingo_pytorch import GatedCrossAttentionBlock
from torch import nn

from eyehand.nn.gated_attention import GatedCrossAttention

NAMES = {
    "attn.norm": "norm",
    "attn.to_q": "attention.to_query",
    "attn.to_kv": "attention.to_key_value",
    "attn.to_out": "attention.to_output",
    "attn_gate": "attention_gate",
    "ff_gate": "feed_forward_gate",
    "ff": "feed_forward",
}


def port(theirs: nn.Module) -> dict[str, torch.Tensor]:
    """Return their weights under our names."""
    weights = {}
    for name, value in theirs.state_dict().items():
        part = next(part for part in NAMES if f"{name}.".startswith(f"{part}."))
        weights[NAMES[part] + name.removeprefix(part)] = value
    return weights


def test_matches_the_published_implementation() -> None:
    torch.manual_seed(0)
    theirs = GatedCrossAttentionBlock(dim=12, dim_head=8, heads=2).double()
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.5)
    ours = GatedCrossAttention(12, context_dim=12, heads=2, head_dim=8).double()
    ours.load_state_dict(port(theirs))
    x = torch.randn(3, 5, 12).double().requires_grad_()
    context = torch.randn(3, 7, 12).double().requires_grad_()
    got, want = ours(x, context), theirs(x, context[:, None])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    weight = torch.randn_like(got)
    ours_gradient = torch.autograd.grad((got * weight).sum(), [x, context])
    their_gradient = torch.autograd.grad((want * weight).sum(), [x, context])
    torch.testing.assert_close(ours_gradient, their_gradient, rtol=0, atol=1e-9)


def test_open_gates_let_everything_learn_at_once() -> None:
    torch.manual_seed(0)
    layer = GatedCrossAttention(8, context_dim=4, heads=2, head_dim=4, gate=1.0)
    x = torch.randn(2, 5, 8)
    layer(x, torch.randn(2, 3, 4)).square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in layer.parameters())


def test_a_new_layer_is_the_identity_and_its_gates_learn_first() -> None:
    torch.manual_seed(0)
    layer = GatedCrossAttention(8, context_dim=4, heads=2, head_dim=4)
    x = torch.randn(2, 5, 8)
    out = layer(x, torch.randn(2, 3, 4))
    assert torch.equal(out, x)
    out.square().sum().backward()
    for name, value in layer.named_parameters():
        assert value.grad is not None
        assert bool(value.grad.any()) == name.endswith("_gate"), name
