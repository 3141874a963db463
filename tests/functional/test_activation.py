import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from eyehand.functional.activation import sigmoid, softmax

EXTREMES = torch.tensor([-1e4, -1e3, -90.0, -1.0, 0.0, 0.3, 1.0, 90.0, 1e3, 1e4])
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def resolution(dtype: torch.dtype) -> float:
    return 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_and_its_gradient_equal_torchs_at_any_size(dtype: torch.dtype) -> None:
    ours, theirs = (EXTREMES.to(dtype, copy=True).requires_grad_() for _ in range(2))
    got, want = sigmoid(ours), torch.sigmoid(theirs)
    assert got.dtype == dtype
    assert got[0] == 0
    assert got[-1] == 1
    # Below the smallest normal number torch's is 0; ours goes on to the subnormal ones.
    tiny = torch.finfo(dtype).tiny
    torch.testing.assert_close(got, want, rtol=resolution(dtype), atol=tiny)
    got.sum().backward()
    want.sum().backward()
    # Not a relative tolerance: torch takes s(1 - s), which is 0 where s rounds to 1.
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=resolution(dtype))
    assert ours.grad is not None
    assert ours.grad.isfinite().all()
    assert ours.grad[4] == 0.25


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_and_its_gradient_equal_torchs_at_any_size(dtype: torch.dtype, dim: int) -> None:
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(3, 10), EXTREMES[None], torch.full((1, 10), 1e4)])
    ours, theirs = (logits.to(dtype, copy=True).requires_grad_() for _ in range(2))
    got, want = softmax(ours, dim=dim), theirs.softmax(dim)
    assert got.dtype == dtype
    torch.testing.assert_close(got, want, rtol=4 * resolution(dtype), atol=resolution(dtype))
    weight = torch.randn(got.shape).to(dtype)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    assert ours.grad is not None
    assert ours.grad.isfinite().all()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=4 * resolution(dtype))


def test_gradients_are_the_derivatives() -> None:
    x = torch.tensor([[-3.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(sigmoid, x)
    assert gradcheck(lambda x: softmax(x, dim=1), x)


def test_the_naive_forms_fail_where_these_hold() -> None:
    """The control: what is proven above is not true of the textbook's formulas."""
    x = EXTREMES.clone().requires_grad_()
    (1 / (1 + (-x).exp())).sum().backward()
    assert x.grad is not None
    assert x.grad[0].isnan()
    assert (EXTREMES.exp() / EXTREMES.exp().sum()).isnan().any()


def test_infinite_logits_are_masks() -> None:
    logits = torch.tensor([0.0, -torch.inf, 0.0])
    assert torch.equal(softmax(logits, dim=0), torch.tensor([0.5, 0.0, 0.5]))
    assert torch.equal(sigmoid(torch.tensor([-torch.inf, torch.inf])), torch.tensor([0.0, 1.0]))
    assert torch.equal(softmax(logits, dim=0), F.softmax(logits, dim=0))
