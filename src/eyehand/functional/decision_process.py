"""Finite Markov processes as arrays: states alone, with rewards, and with decisions.

A Markov process is its transition matrix: row s holds the probabilities of the next state, which
depend on nothing but s. With a reward for each state and a discount it is a reward process; with a
choice of action in each state, a decision process. A policy, a row of probabilities of the actions
for each state, turns a decision process into a reward process: `DecisionProcess.under`.

A state that ends the task is one that is never left, with rewards of 0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from eyehand.types import InputError

ROUNDING = 1e-9
"""How far a sum of probabilities may be from 1."""


@dataclass(frozen=True, eq=False)
class RewardProcess:
    """A Markov reward process.

    Args:
        transition: Probability of each next state.
        reward: Expected reward of a step from each state.
        discount: Weight of the future per step, in [0, 1).

    Raises:
        InputError: If a row is no distribution, a reward is not finite, or the discount is outside.

    References:
        Sutton and Barto, 2018, *Reinforcement Learning*, chapter 3; Zhao, 2025, *Mathematical
        Foundations of Reinforcement Learning*, chapter 2.

    Example:
        >>> process = RewardProcess(np.eye(2), np.array([0.0, 1.0]), 0.9)
        >>> process.states
        2
    """

    transition: Float64[np.ndarray, "state state"]
    reward: Float64[np.ndarray, " state"]
    discount: float

    def __post_init__(self) -> None:
        _check(self.transition, self.reward, self.discount)

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.reward)


@dataclass(frozen=True, eq=False)
class DecisionProcess:
    """A Markov decision process.

    Args:
        transition: Probability of each next state after each action.
        reward: Expected reward of each action in each state.
        discount: Weight of the future per step, in [0, 1).

    Raises:
        InputError: If a row is no distribution, a reward is not finite, or the discount is outside.

    References:
        Puterman, 1994, *Markov Decision Processes*, chapter 6 (doi 10.1002/9780470316887); Zhao,
        2025, sec. 1.7.

    Example:
        Stay (action 0) or change to the other state (action 1); state 1 pays.

        >>> transition = np.stack([np.eye(2), np.eye(2)[::-1]], axis=1)
        >>> process = DecisionProcess(transition, np.array([[0.0, 0.0], [1.0, 1.0]]), 0.5)
        >>> process.under(process.uniform_policy()).transition
        array([[0.5, 0.5],
               [0.5, 0.5]])
    """

    transition: Float64[np.ndarray, "state action state"]
    reward: Float64[np.ndarray, "state action"]
    discount: float

    def __post_init__(self) -> None:
        _check(self.transition, self.reward, self.discount)

    @property
    def states(self) -> int:
        """Number of states."""
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions, the same in every state."""
        return self.reward.shape[1]

    def uniform_policy(self) -> Float64[np.ndarray, "state action"]:
        """Return the policy that takes every action alike."""
        return np.full(self.reward.shape, 1 / self.actions)

    def under(self, policy: Float64[np.ndarray, "state action"]) -> RewardProcess:
        """Return the reward process of acting by a policy.

        Args:
            policy: Probability of each action in each state.

        Raises:
            InputError: If a row of the policy is no distribution.
        """
        _check_distribution("policy", policy)
        transition = np.einsum("sa,san->sn", policy, self.transition)
        return RewardProcess(transition, (policy * self.reward).sum(axis=1), self.discount)

    def soft(self, epsilon: float) -> "DecisionProcess":
        r"""Return the process in which a random action replaces the chosen one now and then.

        Its optimal values v, of states, are those of the best :math:`\epsilon`-greedy policy here.
        Sarsa learns ``action_values(self, v)``: the first action is done as it is, and only those
        after it may be replaced. Monte Carlo with :math:`\epsilon`-greedy policies learns the same
        where it converges.

        Args:
            epsilon: How often an action is replaced by a uniform one, in [0, 1].

        Raises:
            InputError: If ``epsilon`` lies outside [0, 1].

        References:
            Sutton and Barto, 2018, sec. 5.4, who move the policy's softness into the environment.
        """
        if not 0 <= epsilon <= 1:
            raise InputError(f"epsilon must be 0 to 1; got {epsilon}.")
        transition = self.transition.mean(axis=1, keepdims=True)
        reward = self.reward.mean(axis=1, keepdims=True)
        return DecisionProcess(
            (1 - epsilon) * self.transition + epsilon * transition,
            (1 - epsilon) * self.reward + epsilon * reward,
            self.discount,
        )

    def affine(self, *, scale: float, shift: float) -> "DecisionProcess":
        r"""Return the process with rewards :math:`a r + b`.

        Every policy's values become :math:`a v + b / (1 - \gamma)`, so for a positive a the optimal
        policies stay. What people get wrong: the shift reaches the rewards of states that end a
        task, too. Where it does not, in an episodic task, it changes what is optimal: every step
        pays b, and a longer episode pays it more often.

        Args:
            scale: a.
            shift: b.

        References:
            Zhao, 2025, sec. 3.5.
        """
        return DecisionProcess(self.transition, scale * self.reward + shift, self.discount)


def distribution_after(
    transition: Float64[np.ndarray, "state state"],
    start: Float64[np.ndarray, " state"],
    *,
    steps: int,
) -> Float64[np.ndarray, " state"]:
    r"""Return how a Markov process is distributed after some steps, :math:`d P^n`.

    Args:
        transition: Probability of each next state.
        start: Probability of each first state.
        steps: Number of steps, at least 0.

    Raises:
        InputError: If a row of either is no distribution.

    Example:
        >>> distribution_after(np.eye(2)[::-1].copy(), np.array([1.0, 0.0]), steps=3)
        array([0., 1.])
    """
    _check_distribution("transition", transition)
    _check_distribution("start", start)
    return start @ np.linalg.matrix_power(transition, steps)


def stationary_distribution(
    transition: Float64[np.ndarray, "state state"],
) -> Float64[np.ndarray, " state"]:
    r"""Return the distribution that a step does not change: :math:`d = d P`.

    In the long run it is the share of steps that are spent in each state.

    Args:
        transition: Probability of each next state.

    Raises:
        InputError: If a row is no distribution, or there are several such distributions, because
            the process has parts that it never leaves.

    References:
        Zhao, 2025, sec. 8.2.

    Example:
        >>> stationary_distribution(np.array([[0.9, 0.1], [0.3, 0.7]])).round(9)
        array([0.75, 0.25])
    """
    _check_distribution("transition", transition)
    states = len(transition)
    equations = np.vstack([transition.T - np.eye(states), np.ones(states)])
    found, _, rank, _ = np.linalg.lstsq(equations, np.eye(states + 1)[-1], rcond=None)
    if rank < states:
        raise InputError(
            f"the process has {states - int(rank) + 1} parts that it never leaves, so it has no "
            "single stationary distribution."
        )
    return np.maximum(found, 0)


def _check(transition: np.ndarray, reward: np.ndarray, discount: float) -> None:
    _check_distribution("transition", transition)
    if not np.isfinite(reward).all():
        place = tuple(int(number) for number in np.argwhere(~np.isfinite(reward))[0])
        raise InputError(f"every reward must be a finite number. Got {reward[place]} at {place}.")
    if not 0 <= discount < 1:
        raise InputError(f"discount must be at least 0 and below 1; got {discount}.")


def _check_distribution(name: str, rows: np.ndarray) -> None:
    """Refuse what has a row that is negative, not finite, or does not sum to 1."""
    total = rows.sum(axis=-1)
    right = (rows >= 0).all(axis=-1) & (abs(total - 1) <= ROUNDING)  # nan is neither
    if not right.all():
        place = tuple(int(number) for number in np.argwhere(~right)[0])
        where = f" at {place}" if place else ""
        raise InputError(
            f"every row of `{name}` must be probabilities that sum to 1. "
            f"Got {rows[place].tolist()}{where}."
        )
