import pytest
import torch

from eyehand.nn.squeeze_excitation import SqueezeExcitation


def test_matches_the_formula_channel_by_channel() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcitation(6, reduction=2).double()
    x = torch.randn(2, 6, 4, 5).double()
    got = layer(x)
    for row in range(2):
        average = torch.stack([channel.sum() / 20 for channel in x[row]])
        hidden = (layer.to_hidden.weight @ average + layer.to_hidden.bias).clamp(min=0)
        assert len(hidden) == 3
        scale = 1 / (1 + (-(layer.to_scale.weight @ hidden + layer.to_scale.bias)).exp())
        for channel in range(6):
            want = scale[channel] * x[row, channel]
            torch.testing.assert_close(got[row, channel], want, rtol=0, atol=1e-12)


def test_the_size_of_the_hidden_layer_is_rounded_down_but_never_nothing() -> None:
    assert SqueezeExcitation(24).to_hidden.out_features == 1
    with pytest.raises(ValueError, match="reduction=16, dim=8"):
        SqueezeExcitation(8)


def test_keeps_channels_last() -> None:
    x = torch.randn(2, 16, 4, 6).to(memory_format=torch.channels_last)
    assert SqueezeExcitation(16)(x).is_contiguous(memory_format=torch.channels_last)
