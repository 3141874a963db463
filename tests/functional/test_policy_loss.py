"""Losses of learning from what was drawn, against hand, autograd and closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from eyehand.functional.policy_loss import (
    clipped_surrogate,
    group_advantage,
    kl_estimate,
    preference_loss,
    share_clipped,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_at_the_old_policy_the_gradient_is_that_of_reinforce() -> None:
    old, advantage = normal(50), normal(50, seed=1)
    log_prob = old.clone().requires_grad_()
    clipped_surrogate(log_prob, old, advantage, lower=0.2, upper=0.3).sum().backward()
    torch.testing.assert_close(log_prob.grad, -advantage)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.1, 1.0, -1.1, True),  # inside: the ratio itself
        (1.5, 1.0, -1.3, False),  # good and already more probable: clipped
        (1.5, -1.0, 1.5, True),  # bad and more probable: pulled back
        (0.5, 1.0, -0.5, True),  # good and less probable: pulled back
        (0.5, -1.0, 0.8, False),  # bad and already less probable: clipped
    ],
)
def test_clipping_stops_what_went_far_enough(
    ratio: float, advantage: float, loss: float, moves: bool
) -> None:
    log_prob = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    old = torch.zeros(1, dtype=torch.float64)
    found = clipped_surrogate(log_prob, old, advantage + old, lower=0.2, upper=0.3)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert log_prob.grad is not None
    assert bool(log_prob.grad != 0) == moves


def test_the_share_that_is_clipped_is_counted() -> None:
    ratio = torch.tensor([0.7, 0.9, 1.0, 1.25, 1.4])
    assert share_clipped(ratio.log(), torch.zeros(5), lower=0.2, upper=0.3) == pytest.approx(0.4)


def test_the_estimate_of_kl_has_its_mean_and_is_never_negative() -> None:
    """Two unit Gaussians 0.5 apart: the divergence is 0.5**2 / 2."""
    sample = np.random.default_rng(0).normal(size=200_000)
    one, two = (torch.tensor(norm.logpdf(sample, loc=mean)) for mean in (0.0, 0.5))
    found = kl_estimate(one, two)
    assert found.min() >= 0
    assert found.mean().item() == pytest.approx(0.125, abs=0.002)


def test_group_advantages_are_centred_scaled_and_silent_where_all_are_equal() -> None:
    reward = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2]], dtype=torch.float64)
    found = group_advantage(reward)
    torch.testing.assert_close(found.sum(dim=1), torch.zeros(3, dtype=torch.float64))
    assert found[0].std(correction=0).item() == pytest.approx(1.0)
    assert found[1:].abs().max() == 0
    plain = group_advantage(reward, divide=False)
    torch.testing.assert_close(plain[0], torch.tensor([0.75, -0.25, -0.25, -0.25]).double())
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(group_advantage(reward[:, order]), found[:, order])


def test_preferences_move_both_ways_and_less_where_they_are_kept() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    chosen, rejected = zero.clone().requires_grad_(), zero.clone().requires_grad_()
    preference_loss(chosen, rejected, zero, zero, beta=0.5).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.25)  # beta * sigmoid(0)
    assert rejected.grad.item() == pytest.approx(0.25)
    kept = preference_loss(zero + 3, zero - 3, zero, zero, beta=0.5)
    assert kept.item() == pytest.approx(np.log1p(np.exp(-3.0)))


def test_equal_rewards_have_no_advantage_whatever_rounding_says() -> None:
    assert not group_advantage(torch.full((1, 8), 0.1)).any()
