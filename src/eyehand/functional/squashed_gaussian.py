"""A Gaussian that is squashed into (-1, 1) by tanh: bounded actions with an exact density."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def sample_squashed(
    mean: Float[Tensor, "*batch action"],
    log_std: Float[Tensor, "*batch action"],
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "*batch action"], Float[Tensor, " *batch"]]:
    r"""Draw :math:`a = \tanh(u)`, :math:`u \sim N(\mu, \sigma)`, with its log-probability.

    .. math:: \log p(a) = \sum_i \log N(u_i) - \log(1 - \tanh^2 u_i)

    The gradient of both flows into mean and deviation (reparameterisation). What people get wrong:
    :math:`\log(1 - \tanh^2 u)` is -inf in float32 from :math:`|u| = 9.02` on; here it is
    computed as :math:`2 (\log 2 - u - \mathrm{softplus}(-2u))`, which is right for all u.

    Args:
        mean: Of u.
        log_std: Logarithm of u's standard deviation.
        generator: Draws the noise; left out, torch's own one does.

    Returns:
        The action, and its log-probability, summed over the action's numbers.

    References:
        Haarnoja et al., 2018, https://arxiv.org/abs/1812.05905, appendix C.

    Example:
        >>> action, log_prob = sample_squashed(torch.zeros(5, 2), torch.zeros(5, 2))
        >>> action.shape, log_prob.shape, bool(action.abs().max() < 1)
        (torch.Size([5, 2]), torch.Size([5]), True)
    """
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return torch.tanh(mean + log_std.exp() * noise), _log_prob(noise, mean, log_std)


def squashed_log_prob(
    action: Float[Tensor, "*batch action"],
    mean: Float[Tensor, "*batch action"],
    log_std: Float[Tensor, "*batch action"],
) -> Float[Tensor, " *batch"]:
    """Return the log-probability of an action in (-1, 1); see `sample_squashed`.

    An action of exactly -1 or 1, which rounding can make, counts as the nearest number inside.
    """
    edge = 1 - torch.finfo(action.dtype).eps / 2
    before = torch.atanh(action.clamp(-edge, edge))
    return _log_prob((before - mean) / log_std.exp(), mean, log_std)


def _log_prob(
    noise: Float[Tensor, "*batch action"],
    mean: Float[Tensor, "*batch action"],
    log_std: Float[Tensor, "*batch action"],
) -> Float[Tensor, " *batch"]:
    before = mean + log_std.exp() * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    squash = 2 * (math.log(2) - before - F.softplus(-2 * before))
    return (gaussian - squash).sum(dim=-1)
