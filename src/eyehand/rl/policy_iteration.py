"""Policy iteration: evaluate a policy, act greedily on what it is worth, and repeat.

Evaluated exactly, it is Howard's policy iteration; cut off after some sweeps, truncated (or
modified) policy iteration; after one sweep, value iteration.

Howard, 1960, *Dynamic Programming and Markov Processes*; truncated: Puterman and Shin, 1978,
doi 10.1287/mnsc.24.11.1127; Zhao, 2025, sec. 4.2 and 4.3.
"""

import numpy as np
from jaxtyping import Integer

from eyehand.functional.bellman import (
    action_values,
    expectation_update,
    optimality_residual,
    solve,
)
from eyehand.functional.decision_process import DecisionProcess, RewardProcess
from eyehand.rl.value_iteration import Solution, check_effort
from eyehand.types import InputError

ROUNDING = 1e-12
"""Gains that are a smaller share of the largest value may be rounding."""


def policy_iteration(
    process: DecisionProcess,
    *,
    sweeps: int | None = None,
    tolerance: float = 1e-10,
    rounds: int = 10_000,
    start: Integer[np.ndarray, " state"] | None = None,
) -> Solution:
    r"""Find an optimal policy of a known process.

    .. math:: v_k = r_{\pi_k} + \gamma P_{\pi_k} v_k, \qquad
              \pi_{k+1}(s) = \arg\max_a \big(r_a + \gamma P_a v_k\big)(s)

    Each policy is at least as good as the one before it in every state, and there are finitely
    many: so the exact form ends, with an optimal one. It keeps an action unless another is really
    better, because among equals it could go round for ever.

    With ``sweeps`` the values of a policy are not solved for, but followed for so many sweeps from
    those of the policy before. What people get wrong: these are no policy's values. They may lie
    above a policy's own, and only the limit is promised.

    Args:
        process: The decision process.
        sweeps: Sweeps of evaluation in a round, at least 1, from values of 0; None solves exactly.
        tolerance: Largest distance from the optimal values, in the maximum norm, above 0. In the
            exact form it is at least the share ``ROUNDING`` of the largest value, divided by
            ``1 - discount``: smaller gains may be rounding.
        rounds: Rounds after which it gives up.
        start: The action of each state in the first policy of the exact form; None takes action 0.
            With ``sweeps`` the first policy is the greedy one on values of 0.

    Returns:
        Values and policy. The history of the exact form has the values of every policy; the other
        begins with zeros.

    Raises:
        InputError: If the tolerance is not above 0, a number is below 1, or ``rounds`` did not
            suffice.

    Example:
        >>> process = DecisionProcess(np.ones((1, 2, 1)), np.array([[0.0, 1.0]]), 0.9)
        >>> found = policy_iteration(process)
        >>> found.history.round(9), found.policy
        (array([[ 0.],
               [10.]]), array([[0., 1.]]))
    """
    check_effort(tolerance, rounds)
    if sweeps is None:
        return _exact(process, tolerance=tolerance, rounds=rounds, start=start)
    check_effort(tolerance, sweeps)
    if start is not None:
        raise InputError("`start` is for exact evaluation; with `sweeps` leave it out.")
    return _truncated(process, sweeps=sweeps, tolerance=tolerance, rounds=rounds)


def _exact(
    process: DecisionProcess,
    *,
    tolerance: float,
    rounds: int,
    start: Integer[np.ndarray, " state"] | None,
) -> Solution:
    states = np.arange(process.states)
    chosen = np.zeros(process.states, dtype=int) if start is None else start
    history = []
    for _ in range(rounds):
        values = solve(_under(process, chosen))
        history.append(values)
        worth = action_values(process, values)
        best = worth.argmax(axis=1)
        gain = worth[states, best] - worth[states, chosen]
        # Gains of g in every state make values larger by g / (1 - discount) at most.
        least = max((1 - process.discount) * tolerance, ROUNDING * abs(worth).max())
        better = gain > least
        if not better.any():
            return Solution(values, np.eye(process.actions)[chosen], np.stack(history))
        chosen = np.where(better, best, chosen)
    raise InputError(f"{rounds} rounds did not find a policy that no action improves.")


def _truncated(process: DecisionProcess, *, sweeps: int, tolerance: float, rounds: int) -> Solution:
    values = np.zeros(process.states)
    history = [values]
    for _ in range(rounds):
        chosen = action_values(process, values).argmax(axis=1)
        followed = _under(process, chosen)
        for _ in range(sweeps):
            values = expectation_update(followed, values)
        history.append(values)
        residual = optimality_residual(process, values)
        if residual <= (1 - process.discount) * tolerance:
            chosen = action_values(process, values).argmax(axis=1)
            return Solution(values, np.eye(process.actions)[chosen], np.stack(history))
    raise InputError(
        f"{rounds} rounds of {sweeps} sweeps did not bring the values within {tolerance:g}: "
        f"the optimality equation is still {residual:.3g} off."
    )


def _under(process: DecisionProcess, chosen: Integer[np.ndarray, " state"]) -> RewardProcess:
    """Return the process of taking one action in each state, without a sum over the others."""
    states = np.arange(process.states)
    return RewardProcess(
        process.transition[states, chosen], process.reward[states, chosen], process.discount
    )
