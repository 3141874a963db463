"""A stochastic policy and a value of states, as two small networks."""

import math
from collections.abc import Sequence
from itertools import pairwise

import gymnasium
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

CLIP = 10.0
"""Normalised observations are clipped to so many standard deviations."""


class ActorCritic(nn.Module):
    """Observation in; a distribution over actions, and the value of the state, out.

    Actions are the number of one (a categorical distribution), or numbers (a Gaussian whose
    deviation does not depend on the observation). Weights begin orthogonal, with a small last layer
    of the policy: so all actions are about equally probable at first.

    Args:
        observation_dim: Numbers in an observation.
        action_space: Discrete, or a Box; see `eyehand.types.Environments`.
        dims: Widths of the hidden layers of both networks.
        normalize: Whether observations are normalised by the mean and deviation of those seen.

    References:
        Schulman et al., 2017, https://arxiv.org/abs/1707.06347, section 6.1 (two networks of 64
        tanh units, a deviation of its own). First weights: Andrychowicz et al., 2021,
        https://arxiv.org/abs/2006.05990.
    """

    def __init__(
        self,
        observation_dim: int,
        action_space: gymnasium.Space[object],
        *,
        dims: Sequence[int] = (64, 64),
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        if isinstance(action_space, gymnasium.spaces.Discrete):
            action_dim = int(action_space.n)
        else:
            action_dim = math.prod(action_space.shape or ())
            self.log_std = nn.Parameter(torch.zeros(action_dim))
        self.seen = RunningMoments(observation_dim) if normalize else None
        self.policy = tanh_network(observation_dim, dims, action_dim, gain=0.01)
        self.value = tanh_network(observation_dim, dims, 1, gain=1.0)

    def forward(
        self, observation: Float32[Tensor, "step observation"], action: Tensor
    ) -> tuple[Float[Tensor, " step"], Float[Tensor, " step"], Float[Tensor, " step"]]:
        """Return the log-probability of actions, the entropy, and the values."""
        distribution = self.distribution(observation)
        log_prob: Float[Tensor, " step"] = distribution.log_prob(action)
        return log_prob, distribution.entropy(), self.values(observation)

    def distribution(self, observation: Float32[Tensor, "step observation"]) -> Distribution:
        """Return the distribution over actions."""
        output = self.policy(self._normalized(observation))
        if self.discrete:
            return Categorical(logits=output)
        return Independent(Normal(output, self.log_std.exp()), 1)

    def values(self, observation: Float32[Tensor, "step observation"]) -> Float[Tensor, " step"]:
        """Return the values of states."""
        found: Float[Tensor, " step"] = self.value(self._normalized(observation))[:, 0]
        return found

    def act(self, observation: Float32[Tensor, "step observation"], *, draw: bool = True) -> Tensor:
        """Draw actions; or take the most probable ones."""
        distribution = self.distribution(observation)
        if draw:
            return distribution.sample()
        return distribution.mode

    def _normalized(
        self, observation: Float32[Tensor, "step observation"]
    ) -> Float32[Tensor, "step observation"]:
        if self.seen is None:
            return observation
        return self.seen.normalize(observation).clamp(-CLIP, CLIP)


def tanh_network(dim: int, dims: Sequence[int], last: int, *, gain: float) -> nn.Sequential:
    """Return linear layers with tanh between them, orthogonal at first.

    Args:
        dim: Width of the input.
        dims: Widths of the hidden layers.
        last: Width of the output.
        gain: Scale of the last layer's first weights; that of the others is the root of 2.
    """
    layers: list[nn.Module] = []
    widths = [dim, *dims, last]
    for number, (width, next_width) in enumerate(pairwise(widths), start=1):
        linear = nn.Linear(width, next_width)
        is_last = number == len(widths) - 1
        nn.init.orthogonal_(linear.weight, gain if is_last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if is_last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class RunningMoments(nn.Module):
    """Mean and variance of everything seen so far, by number, updated batch by batch.

    Args:
        dim: Numbers in a row.

    References:
        Chan et al., 1979, "Updating formulae and a pairwise algorithm for computing sample
        variances".

    Example:
        >>> moments = RunningMoments(1)
        >>> for part in torch.arange(6.0).reshape(3, 2, 1): moments.update(part)
        >>> moments.mean.item(), round(moments.variance.item(), 4)
        (2.5, 2.9167)
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "row number"]) -> None:
        """Take in rows."""
        rows = rows.double()
        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        total = self.count + len(rows)
        apart, share = mean - self.mean, len(rows) / total
        spread = self.variance * (1 - share) + variance * share
        self.variance.copy_(spread + apart**2 * share * (1 - share))
        self.mean.add_(apart * share)
        self.count.copy_(total)

    def normalize(self, rows: Float[Tensor, "row number"]) -> Float[Tensor, "row number"]:
        """Return rows less the mean, divided by the standard deviation."""
        scaled = (rows - self.mean) / (self.variance + 1e-8).sqrt()
        return scaled.to(rows.dtype)
