r"""Bellman's equations of finite processes: operators, solutions, greedy policies, distances.

The expectation equation says what a policy's values are, :math:`v = r_\pi + \gamma P_\pi v`; the
optimality equation what the best values are, :math:`v = \max_a (r_a + \gamma P_a v)`. The right
side of either, as a function of v, brings any two v closer by the factor :math:`\gamma` in the
maximum norm: so there is one solution, and repeating leads to it (Banach).

Bellman, 1957, *Dynamic Programming*; Sutton and Barto, 2018, chapters 3 and 4; Zhao, 2025,
*Mathematical Foundations of Reinforcement Learning*, chapters 2 and 3.
"""

import numpy as np
from jaxtyping import Float64

from eyehand.functional.decision_process import DecisionProcess, RewardProcess
from eyehand.types import InputError


def expectation_update(
    process: RewardProcess, values: Float64[np.ndarray, " state"]
) -> Float64[np.ndarray, " state"]:
    r"""Apply the operator of the expectation equation once: :math:`r + \gamma P v`.

    Example:
        >>> process = RewardProcess(np.eye(2), np.array([0.0, 1.0]), 0.5)
        >>> expectation_update(process, np.array([4.0, 4.0]))
        array([2., 3.])
    """
    return process.reward + process.discount * process.transition @ values


def solve(process: RewardProcess) -> Float64[np.ndarray, " state"]:
    r"""Return the values of a reward process in closed form: :math:`(I - \gamma P)^{-1} r`.

    The cost grows with the cube of the states; repeating `expectation_update` gets there, too.

    Example:
        Reward 1 for ever is worth 1 / (1 - discount).

        >>> solve(RewardProcess(np.eye(1), np.ones(1), 0.9)).round(9)
        array([10.])
    """
    unknown = np.eye(process.states) - process.discount * process.transition
    return np.linalg.solve(unknown, process.reward)


def action_values(
    process: DecisionProcess, values: Float64[np.ndarray, " state"]
) -> Float64[np.ndarray, "state action"]:
    r"""Return what each action is worth if the next state is worth v: :math:`r_a + \gamma P_a v`.

    Example:
        >>> transition = np.stack([np.eye(2), np.eye(2)[::-1]], axis=1)
        >>> process = DecisionProcess(transition, np.array([[0.0, 0.0], [1.0, 1.0]]), 0.5)
        >>> action_values(process, np.array([0.0, 2.0]))
        array([[0., 1.],
               [2., 1.]])
    """
    return process.reward + process.discount * process.transition @ values


def optimality_update(
    process: DecisionProcess, values: Float64[np.ndarray, " state"]
) -> Float64[np.ndarray, " state"]:
    r"""Apply the operator of the optimality equation once: :math:`\max_a (r_a + \gamma P_a v)`.

    Example:
        >>> transition = np.stack([np.eye(2), np.eye(2)[::-1]], axis=1)
        >>> process = DecisionProcess(transition, np.array([[0.0, 0.0], [1.0, 1.0]]), 0.5)
        >>> optimality_update(process, np.array([0.0, 2.0]))
        array([1., 2.])
    """
    return action_values(process, values).max(axis=1)


def optimality_residual(process: DecisionProcess, values: Float64[np.ndarray, " state"]) -> float:
    r"""Return how far values are from solving the optimality equation, in the maximum norm.

    Divided by :math:`1 - \gamma` it bounds their distance from the optimal values.

    References:
        Puterman, 1994, theorem 6.3.1.

    Example:
        >>> process = DecisionProcess(np.ones((1, 1, 1)), np.ones((1, 1)), 0.9)
        >>> optimality_residual(process, np.zeros(1))  # the optimal value is 10
        1.0
    """
    return float(abs(optimality_update(process, values) - values).max())


def greedy_policy(
    values: Float64[np.ndarray, "state action"],
) -> Float64[np.ndarray, "state action"]:
    """Return the policy that takes the action of the highest value; of equals, the first.

    Example:
        >>> greedy_policy(np.array([[1.0, 2.0], [3.0, 3.0]]))
        array([[0., 1.],
               [1., 0.]])
    """
    return np.eye(values.shape[1])[values.argmax(axis=1)]


def epsilon_greedy_policy(
    values: Float64[np.ndarray, "state action"], *, epsilon: float
) -> Float64[np.ndarray, "state action"]:
    r"""Return the greedy policy, except that a share of actions is drawn from all of them.

    The greedy action has probability :math:`1 - \epsilon + \epsilon / n`, because a random action
    may be it, too.

    Raises:
        InputError: If ``epsilon`` lies outside [0, 1].

    Example:
        >>> epsilon_greedy_policy(np.array([[1.0, 2.0]]), epsilon=0.5)
        array([[0.25, 0.75]])
    """
    if not 0 <= epsilon <= 1:
        raise InputError(f"epsilon must be 0 to 1; got {epsilon}.")
    return (1 - epsilon) * greedy_policy(values) + epsilon / values.shape[1]


def projected_weights(
    process: RewardProcess,
    features: Float64[np.ndarray, "state feature"],
    *,
    share: Float64[np.ndarray, " state"],
) -> Float64[np.ndarray, " feature"]:
    r"""Solve the projected Bellman equation: linear values, weighted by how often states occur.

    .. math:: \Phi^\top D (I - \gamma P) \Phi\, w = \Phi^\top D\, r

    Temporal differences with linear values converge to this solution, not to the linear values
    nearest to the truth. In the norm weighted by the stationary distribution, in which P does not
    expand and the projection is orthogonal, its distance from the truth is by Pythagoras at most
    :math:`1 / \sqrt{1 - \gamma^2}` times the smallest possible one.

    Args:
        process: The reward process of the policy.
        features: Of each state; columns must be linearly independent.
        share: Weight D of each state, for instance its stationary probability.

    Returns:
        Weights; ``features @ weights`` are the values.

    Raises:
        InputError: If the features do not determine the weights.

    References:
        Tsitsiklis and Van Roy, 1997, doi 10.1109/9.580874; Sutton and Barto, 2018, eq. 9.12-9.14.

    Example:
        >>> process = RewardProcess(np.eye(2), np.array([0.0, 1.0]), 0.5)
        >>> projected_weights(process, np.eye(2), share=np.full(2, 0.5))
        array([0., 2.])
    """
    weighted = features.T * share
    change = features - process.discount * process.transition @ features
    matrix = weighted @ change
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise InputError(
            f"the {features.shape[1]} features must be linearly independent on the states that "
            f"occur. Got rank {np.linalg.matrix_rank(matrix)}."
        )
    return np.linalg.solve(matrix, weighted @ process.reward)
