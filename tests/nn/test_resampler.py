"""Against the published implementation that others build on, flamingo-pytorch."""

import pytest
import torch
from flamingo_pytorch import PerceiverResampler
from torch import nn

from eyehand.nn.resampler import Resampler

NAMES = {
    "0.norm_media": "norm_token",
    "0.norm_latents": "norm_latent",
    "0.to_q": "attention.to_query",
    "0.to_kv": "attention.to_key_value",
    "0.to_out": "attention.to_output",
    "1": "feed_forward",
}


def port(theirs: nn.Module) -> dict[str, torch.Tensor]:
    """Return their weights under our names."""
    weights = {}
    for name, value in theirs.state_dict().items():
        if name.startswith("layers."):
            _, layer, rest = name.split(".", 2)
            part = next(part for part in NAMES if rest.startswith(f"{part}."))
            name = f"layers.{layer}.{NAMES[part]}.{rest.removeprefix(f'{part}.')}"
        weights[name.replace("media_pos_emb", "media")] = value
    return weights


@pytest.mark.parametrize(("depth", "heads", "head_dim"), [(1, 1, 4), (3, 2, 8)])
def test_matches_the_published_implementation(depth: int, heads: int, head_dim: int) -> None:
    torch.manual_seed(0)
    theirs = PerceiverResampler(
        dim=12, depth=depth, dim_head=head_dim, heads=heads, num_latents=5, num_media_embeds=2
    ).double()
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.5)
    ours = Resampler(12, depth=depth, heads=heads, head_dim=head_dim, latents=5, media=2).double()
    ours.load_state_dict(port(theirs))
    x = torch.randn(3, 2, 7, 12).double().requires_grad_()
    got, want = ours(x), theirs(x)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    weight = torch.randn_like(got)
    (our_gradient,) = torch.autograd.grad((got * weight).sum(), x)
    (their_gradient,) = torch.autograd.grad((want * weight).sum(), x)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-9)


def test_pictures_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    layer = Resampler(8, depth=2, heads=2, head_dim=4, latents=3, media=2)
    x = torch.randn(1, 2, 6, 8)
    other = x.clone()
    other[:, 1] = 0
    torch.testing.assert_close(layer(other)[:, 0], layer(x)[:, 0], rtol=0, atol=0)
    assert not torch.allclose(layer(other)[:, 1], layer(x)[:, 1])
