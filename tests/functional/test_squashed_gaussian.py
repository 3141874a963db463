"""The squashed Gaussian beside torch's, where torch's is exact, and beyond."""

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from eyehand.functional.squashed_gaussian import sample_squashed, squashed_log_prob


def parameters(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(count, 3, generator=draw, dtype=torch.float64)
    return mean, 0.3 * torch.randn(count, 3, generator=draw, dtype=torch.float64) - 0.5


def test_density_is_that_of_torch() -> None:
    mean, log_std = parameters()
    action, log_prob = sample_squashed(mean, log_std, generator=torch.Generator().manual_seed(1))
    theirs = Independent(
        TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform()), 1
    ).log_prob(action)
    torch.testing.assert_close(log_prob, theirs)
    torch.testing.assert_close(squashed_log_prob(action, mean, log_std), theirs)


def test_density_integrates_to_one() -> None:
    mean, log_std = torch.tensor([[0.4]]).double(), torch.tensor([[-0.2]]).double()
    grid = torch.linspace(-1 + 1e-6, 1 - 1e-6, 400_001, dtype=torch.float64)[:, None]
    density = squashed_log_prob(grid, mean.expand_as(grid), log_std.expand_as(grid)).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("mean", [-60.0, 60.0])
def test_far_out_everything_is_finite_and_has_a_gradient(mean: float) -> None:
    """In float32 log(1 - tanh(u)**2) is -inf there."""
    place = torch.full((1, 2), mean, requires_grad=True)
    action, log_prob = sample_squashed(place, torch.zeros(1, 2))
    assert action.abs().max() <= 1
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert place.grad is not None
    assert place.grad.isfinite().all()
    assert squashed_log_prob(action.detach(), place.detach(), torch.zeros(1, 2)).isfinite().all()


def test_the_generator_decides_the_draw() -> None:
    mean, log_std = parameters(4)
    draws = [
        sample_squashed(mean, log_std, generator=torch.Generator().manual_seed(seed))[0]
        for seed in (5, 5, 6)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
