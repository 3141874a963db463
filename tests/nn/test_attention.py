import torch
from torch import nn
from torch.nn import functional as F

from eyehand.nn.attention import Attention, FeedForward


def test_matches_torch_with_a_head_of_its_own_width() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    ours = Attention(12, heads=3, head_dim=4).double()
    with torch.no_grad():
        query, key_value = theirs.in_proj_weight[:12], theirs.in_proj_weight[12:]
        ours.to_query.weight.copy_(query)
        ours.to_key_value.weight.copy_(key_value)
        ours.to_output.weight.copy_(theirs.out_proj.weight)
    x, context = torch.randn(2, 5, 12).double(), torch.randn(2, 7, 12).double()
    x.requires_grad_()
    got, (want, _) = ours(x, context), theirs(x, context, context)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    weight = torch.randn_like(got)
    (ours_gradient,) = torch.autograd.grad((got * weight).sum(), x)
    (their_gradient,) = torch.autograd.grad((want * weight).sum(), x)
    torch.testing.assert_close(ours_gradient, their_gradient, rtol=0, atol=1e-12)


def test_order_of_the_context_does_not_matter() -> None:
    torch.manual_seed(0)
    layer = Attention(8, heads=2, head_dim=3, context_dim=5).double()
    x, context = torch.randn(1, 4, 8).double(), torch.randn(1, 6, 5).double()
    torch.testing.assert_close(layer(x, context), layer(x, context.flip(1)), rtol=0, atol=1e-12)


def test_feed_forward_is_norm_linear_gelu_linear() -> None:
    torch.manual_seed(0)
    layer = FeedForward(6, expansion=3).double()
    norm, first, _, second = layer
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 6).double()
    want = F.gelu(F.layer_norm(x, (6,), norm.weight, norm.bias) @ first.weight.T) @ second.weight.T
    torch.testing.assert_close(layer(x), want, rtol=0, atol=1e-12)
    assert first.out_features == 18
