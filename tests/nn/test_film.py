import torch
from torch import nn

from eyehand.nn.film import FiLM


def test_matches_the_formula_channel_by_channel() -> None:
    torch.manual_seed(0)
    layer = FiLM(3, context_dim=5).double()
    nn.init.normal_(layer.to_scale_shift.weight)
    nn.init.normal_(layer.to_scale_shift.bias)
    x, context = torch.randn(2, 3, 4, 6).double(), torch.randn(2, 5).double()
    got = layer(x, context)
    gamma, beta = layer.to_scale_shift(context).split(3, dim=-1)
    for row in range(2):
        for channel in range(3):
            want = x[row, channel] * (1 + gamma[row, channel]) + beta[row, channel]
            torch.testing.assert_close(got[row, channel], want, rtol=0, atol=1e-12)


def test_keeps_channels_last() -> None:
    layer = FiLM(3, context_dim=5)
    x = torch.randn(2, 3, 4, 6).to(memory_format=torch.channels_last)
    assert layer(x, torch.randn(2, 5)).is_contiguous(memory_format=torch.channels_last)
