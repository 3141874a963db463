"""Returns: what an action is worth by the rewards after it, summed up from the last step backwards.

On torch tensors, any number of environments at once, for methods that learn networks. The tabular
methods in `eyehand.rl` add up theirs while they walk back through one episode; tests hold the two
against each other.

Data may stop in three ways, which `terminated` and `truncated` tell apart. Where the task ended,
nothing follows, and the rest is worth 0. Where an episode was cut short, and where the data stop in
the middle of one (the last step), the rest is worth the value of the state that was reached, the
one before any reset: ``next_value``.

Shapes: time first, then anything; one row is one step.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def discounted_return(
    reward: Float[Tensor, " time *batch"],
    next_value: Float[Tensor, " time *batch"],
    terminated: Bool[Tensor, " time *batch"],
    truncated: Bool[Tensor, " time *batch"],
    *,
    discount: float,
) -> Float[Tensor, " time *batch"]:
    r"""Sum of all discounted rewards until the episode or the data stop.

    .. math:: G_t = r_t + \gamma G_{t+1}

    What people get wrong: an episode that was cut short is no episode that ended. Give zeros as
    ``next_value`` only where every episode ends.

    Args:
        reward: Reward received after each action.
        next_value: Value of the state that each action led to; read where data stop unfinished.
        terminated: Whether the task ended with this step.
        truncated: Whether the episode was cut short after this step.
        discount: Weight of the future per step, in [0, 1].

    Returns:
        Return of each action.

    Raises:
        ValueError: If ``discount`` lies outside [0, 1].

    References:
        Sutton and Barto, 2018, eq. 3.9. Time limits: Pardo et al., 2018,
        https://arxiv.org/abs/1712.00378.

    Example:
        >>> reward, no = torch.ones(3), torch.zeros(3, dtype=torch.bool)
        >>> discounted_return(reward, torch.zeros(3), no, no, discount=0.5)
        tensor([1.7500, 1.5000, 1.0000])
    """
    return lambda_return(reward, next_value, terminated, truncated, discount=discount, trace=1.0)


def n_step_return(
    reward: Float[Tensor, " time *batch"],
    next_value: Float[Tensor, " time *batch"],
    terminated: Bool[Tensor, " time *batch"],
    truncated: Bool[Tensor, " time *batch"],
    *,
    discount: float,
    steps: int,
) -> Float[Tensor, " time *batch"]:
    r"""Sum of at most n discounted rewards, and the value of where they lead.

    .. math:: G_t^{(n)} = \sum_{k=0}^{n-1} \gamma^k r_{t+k} + \gamma^n V(s_{t+n})

    An episode or data that stop earlier shorten the sum. With one step it is the target of
    temporal differences, with as many as there are the `discounted_return`.

    Args:
        reward: Reward received after each action.
        next_value: Value of the state that each action led to.
        terminated: Whether the task ended with this step.
        truncated: Whether the episode was cut short after this step.
        discount: Weight of the future per step, in [0, 1].
        steps: Largest number of rewards in a sum, at least 1.

    Returns:
        Return of each action.

    Raises:
        ValueError: If ``discount`` lies outside [0, 1] or ``steps`` is below 1.

    References:
        Sutton and Barto, 2018, eq. 7.1.

    Example:
        >>> reward, no = torch.ones(3), torch.zeros(3, dtype=torch.bool)
        >>> n_step_return(reward, torch.full((3,), 4.0), no, no, discount=0.5, steps=2)
        tensor([2.5000, 2.5000, 3.0000])
    """
    _check_share("discount", discount)
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1. Got {steps}.")
    one_step = reward + discount * next_value.masked_fill(terminated, 0)
    carry = _carry(terminated, truncated)
    total = one_step
    for _ in range(min(steps, len(reward)) - 1):
        following = torch.cat([total[1:], total[-1:]])
        total = torch.where(carry, reward + discount * following, one_step)
    return total


def lambda_return(
    reward: Float[Tensor, " time *batch"],
    next_value: Float[Tensor, " time *batch"],
    terminated: Bool[Tensor, " time *batch"],
    truncated: Bool[Tensor, " time *batch"],
    *,
    discount: float,
    trace: float,
) -> Float[Tensor, " time *batch"]:
    r"""Mean of all n-step returns, in which one more step weighs :math:`\lambda` times as much.

    .. math:: G_t^\lambda = r_t
              + \gamma \big((1 - \lambda) V(s_{t+1}) + \lambda G_{t+1}^\lambda\big)

    Args:
        reward: Reward received after each action.
        next_value: Value of the state that each action led to.
        terminated: Whether the task ended with this step.
        truncated: Whether the episode was cut short after this step.
        discount: Weight of the future per step, in [0, 1].
        trace: :math:`\lambda` in [0, 1]: 0 for one step, 1 for all.

    Returns:
        Return of each action.

    Raises:
        ValueError: If ``discount`` or ``trace`` lies outside [0, 1].

    References:
        Sutton and Barto, 2018, eq. 12.2 and 12.18.

    Example:
        >>> reward, no = torch.ones(2), torch.zeros(2, dtype=torch.bool)
        >>> lambda_return(reward, torch.full((2,), 4.0), no, no, discount=0.5, trace=0.5)
        tensor([2.7500, 3.0000])
    """
    _check_share("discount", discount)
    _check_share("trace", trace)
    ahead = trace * _carry(terminated, truncated).to(reward.dtype)
    here = reward + discount * (1 - ahead) * next_value.masked_fill(terminated, 0)
    return _summed_from_the_end(here, discount * ahead)


def gae(
    reward: Float[Tensor, " time *batch"],
    value: Float[Tensor, " time *batch"],
    next_value: Float[Tensor, " time *batch"],
    terminated: Bool[Tensor, " time *batch"],
    truncated: Bool[Tensor, " time *batch"],
    *,
    discount: float,
    trace: float,
) -> Float[Tensor, " time *batch"]:
    r"""Generalised advantage estimation (Schulman et al., 2016, eq. 16).

    .. math:: \hat A_t = \delta_t + \gamma\lambda\, c_t\, \hat A_{t+1}, \qquad
              \delta_t = r_t + \gamma\, b_t\, V(s_{t+1}) - V(s_t)

    Two masks, never one: b (bootstrap) is zero only where the task ended; c (carry) is zero
    wherever the episode stopped, ended or cut short, and at the last step of the data.

    Args:
        reward: Reward received after each action.
        value: Value of the state in which each action was taken.
        next_value: Value of the state that each action led to.
        terminated: Whether the task ended with this step.
        truncated: Whether the episode was cut short after this step.
        discount: Weight of the future per step, in [0, 1].
        trace: :math:`\lambda` in [0, 1].

    Returns:
        Advantage of each action: `lambda_return` less ``value``, where both rows of a state have
        the same value.

    Raises:
        ValueError: If ``discount`` or ``trace`` lies outside [0, 1].

    References:
        Schulman et al., 2016, https://arxiv.org/abs/1506.02438. Time limits: Pardo et al., 2018,
        https://arxiv.org/abs/1712.00378.

    Example:
        >>> reward, no = torch.ones(2), torch.zeros(2, dtype=torch.bool)
        >>> value = torch.full((2,), 4.0)
        >>> gae(reward, value, value, no, no, discount=0.5, trace=0.5)
        tensor([-1.2500, -1.0000])
    """
    _check_share("discount", discount)
    _check_share("trace", trace)
    surprise = reward + discount * next_value.masked_fill(terminated, 0) - value
    carry = _carry(terminated, truncated).to(reward.dtype)
    return _summed_from_the_end(surprise, discount * trace * carry)


def _carry(
    terminated: Bool[Tensor, " time *batch"], truncated: Bool[Tensor, " time *batch"]
) -> Bool[Tensor, " time *batch"]:
    """Tell which steps the next row continues."""
    carry = ~(terminated | truncated)
    carry[-1:] = False
    return carry


def _summed_from_the_end(
    here: Float[Tensor, " time *batch"], weight: Float[Tensor, " time *batch"]
) -> Float[Tensor, " time *batch"]:
    """Solve ``total[t] = here[t] + weight[t] * total[t + 1]``."""
    total, totals = torch.zeros_like(here[0]), []
    for one, own in zip(reversed(here.unbind()), reversed(weight.unbind()), strict=True):
        total = one + own * total
        totals.append(total)
    return torch.stack(totals[::-1])


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1]. Got {value}.")
