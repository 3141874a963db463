import pytest
import torch
from torch import nn

from eyehand.nn.normalization import BatchNorm, LocalResponseNorm

CLOSE = {"rtol": 0, "atol": 1e-12}


def twins(shape: tuple[int, ...], momentum: float = 0.1) -> tuple[BatchNorm, nn.Module]:
    """Ours and torch's with the same weights, none of them trivial."""
    kind = nn.BatchNorm1d if len(shape) < 4 else nn.BatchNorm2d
    theirs = kind(shape[1], momentum=momentum, eps=1e-3).double()
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours = BatchNorm(shape[1], momentum=momentum, eps=1e-3).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("shape", [(4, 3), (2, 3), (5, 3, 7), (2, 3, 4, 6), (1, 3, 2, 1)])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_batch_norm_equals_torchs_over_several_steps(
    shape: tuple[int, ...], momentum: float
) -> None:
    torch.manual_seed(0)
    ours, theirs = twins(shape, momentum)
    for _ in range(4):
        x = (3 * torch.randn(shape) + 2).double()
        weight = torch.randn(shape).double()
        mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        got, want = ours(mine), theirs(other)
        torch.testing.assert_close(got, want, **CLOSE)
        (got * weight).sum().backward()
        (want * weight).sum().backward()
        torch.testing.assert_close(mine.grad, other.grad, **CLOSE)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, **CLOSE)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, **CLOSE)
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], **CLOSE)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
    theirs.load_state_dict(ours.state_dict())


def test_in_evaluation_a_picture_does_not_depend_on_the_others() -> None:
    layer = BatchNorm(3)
    x = torch.randn(4, 3, 5, 5)
    layer(x)
    seen = layer.num_batches_tracked.item()
    alone, together = layer.eval()(x[:1]), layer(x)[:1]
    assert torch.equal(alone, together)
    assert layer.num_batches_tracked == seen == 1
    assert not torch.equal(layer.train()(x[:2])[:1], layer(x)[:1])  # the control


def test_half_precision_maps_are_summed_in_the_parameters_precision() -> None:
    torch.manual_seed(0)
    x = (100 + torch.randn(8, 3, 6, 6)).bfloat16()
    got = BatchNorm(3)(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, nn.BatchNorm2d(3)(x), rtol=2**-7, atol=2**-7)


def test_one_number_per_channel_has_no_variance() -> None:
    with pytest.raises(ValueError, match=r"at least 2 numbers .* shape \(1, 1, 1, 3\)"):
        BatchNorm(3)(torch.randn(1, 3, 1, 1))
    assert BatchNorm(3).eval()(torch.randn(1, 3, 1, 1)).isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15])
def test_local_response_norm_equals_torchs_but_for_alpha(size: int) -> None:
    torch.manual_seed(0)
    mine = (10 * torch.randn(2, 7, 3, 4)).double().requires_grad_()
    other = mine.detach().clone().requires_grad_()
    got = LocalResponseNorm(size=size, alpha=0.02, beta=0.6, k=1.5)(mine)
    want = nn.LocalResponseNorm(size, alpha=0.02 * size, beta=0.6, k=1.5)(other)
    torch.testing.assert_close(got, want, **CLOSE)
    weight = torch.randn(got.shape).double()
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, **CLOSE)


def test_local_response_norm_by_the_papers_formula() -> None:
    torch.manual_seed(0)
    x = (30 * torch.randn(1, 7, 1, 1)).double()
    a = x.flatten()
    want = [
        a[i] / (2 + 1e-4 * sum(a[j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))) ** 0.75
        for i in range(7)
    ]
    torch.testing.assert_close(LocalResponseNorm()(x).flatten(), torch.stack(want), **CLOSE)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; got 0"):
        LocalResponseNorm(size=0)


@pytest.mark.parametrize("layer", [BatchNorm(6), LocalResponseNorm()])
def test_channels_last_stays(layer: nn.Module) -> None:
    x = torch.randn(2, 6, 4, 5).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
    assert layer(x.contiguous()).is_contiguous()
