"""Value iteration: repeat Bellman's optimality equation as an assignment until it holds.

Bellman, 1957, *Dynamic Programming*; Sutton and Barto, 2018, sec. 4.4; Zhao, 2025, sec. 4.1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from eyehand.functional.bellman import action_values, greedy_policy
from eyehand.functional.decision_process import DecisionProcess
from eyehand.types import InputError

FEWEST, MOST = 1, 1_000_000
"""Sweeps that may be allowed."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What dynamic programming found."""

    values: Float64[np.ndarray, " state"]
    """What each state is worth."""
    policy: Float64[np.ndarray, "state action"]
    """The greedy policy: one action in each state."""
    history: Float64[np.ndarray, "round state"]
    """The values before the first round and after each."""


def value_iteration(
    process: DecisionProcess,
    *,
    tolerance: float = 1e-10,
    sweeps: int = 100_000,
    start: Float64[np.ndarray, " state"] | None = None,
) -> Solution:
    r"""Find the optimal values of a known process.

    .. math:: v_{k+1} = \max_a (r_a + \gamma P_a v_k), \qquad
              \|v_{k+1} - v_*\| \le \frac{\gamma}{1 - \gamma} \|v_{k+1} - v_k\|

    It stops when that bound is within the tolerance. What people get wrong: that the values changed
    by less than 1e-3 does not say that they are within 1e-3 of the truth; with a discount of 0.99
    they may be 0.1 away. And the values on the way are not those of any policy.

    Args:
        process: The decision process.
        tolerance: Largest distance from the optimal values, in the maximum norm, above 0.
        sweeps: Sweeps over all states after which it gives up.
        start: Values to begin with; None begins with zeros.

    Returns:
        Values within the tolerance, and the policy that is greedy on them.

    Raises:
        InputError: If the tolerance is not above 0, ``sweeps`` is below 1, or they did not suffice.

    References:
        Puterman, 1994, *Markov Decision Processes*, theorem 6.3.1.

    Example:
        >>> process = DecisionProcess(np.ones((1, 2, 1)), np.array([[0.0, 1.0]]), 0.9)
        >>> found = value_iteration(process)
        >>> found.values.round(9), found.policy
        (array([10.]), array([[0., 1.]]))
    """
    check_effort(tolerance, sweeps)
    values = np.zeros(process.states) if start is None else start
    history = [values]
    for _ in range(sweeps):
        change = -values
        values = action_values(process, values).max(axis=1)
        change += values
        history.append(values)
        if process.discount * abs(change).max() <= (1 - process.discount) * tolerance:
            policy = greedy_policy(action_values(process, values))
            return Solution(values, policy, np.stack(history))
    raise InputError(
        f"{sweeps} sweeps did not bring the values within {tolerance:g}: "
        f"the last one changed them by {abs(change).max():.3g}."
    )


def check_effort(tolerance: float, sweeps: int) -> None:
    """Refuse a tolerance that cannot be reached and a number of rounds that is none.

    Raises:
        InputError: If the tolerance is not above 0, or the number below 1 or above a million.
    """
    if not tolerance > 0:
        raise InputError(f"the tolerance must be above 0. Got {tolerance:g}.")
    if not FEWEST <= sweeps <= MOST:
        raise InputError(f"there must be {FEWEST} to {MOST:,} sweeps or rounds. Got {sweeps:,}.")
