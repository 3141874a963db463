"""What all tabular methods share: their settings, and an environment with numbered states.

States and actions are numbers, and what is learnt is a table with an entry for each. Any Gymnasium
environment whose spaces are `Discrete` will do.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float64

from eyehand.functional.bellman import greedy_policy
from eyehand.types import LARGEST_SEED, InputError, check_ranges

Watch = Callable[[int, np.ndarray], None]
"""Called after each update with the number of steps so far and the table itself; copy to keep."""


@dataclass(frozen=True, kw_only=True)
class TabularConfig:
    """How a tabular method learns from an environment.

    Raises:
        InputError: If a number is out of its range.
    """

    discount: float = 0.9
    """Weight of the future per step, 0 to 0.9999."""
    epsilon: float = 0.1
    """How often an action is drawn from all, where the method explores."""
    epsilon_power: float = 0.0
    """How that falls: at step n of all episodes it is ``epsilon / n**epsilon_power``."""
    step_size: float = 0.1
    """Share of the way to its target that an entry moves at its first visit."""
    power: float = 0.0
    """How that falls: at visit n it is ``step_size / n**power``. 0 never falls, 1 gives a mean."""
    episodes: int = 1
    """Number of episodes."""
    length: int = 10_000
    """Steps after which an episode is cut short, if it has not ended by then."""
    seed: int = 0
    """Decides starts, chance in the environment, and exploration."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            prefix="TabularConfig.",
            discount=(0, 0.9999),
            epsilon=(0, 1),
            epsilon_power=(0, 2),
            step_size=(0, 1),
            power=(0, 2),
            episodes=(1, 10**9),
            length=(1, 10**9),
            seed=(0, LARGEST_SEED),
        )

    def size(self, visit: float | int) -> float:
        """Return the step size at a visit, counted from 1."""
        return self.step_size / visit**self.power


@dataclass(frozen=True, eq=False)
class Learned:
    """What a method of control found."""

    values: Float64[np.ndarray, "state action"]
    """What each action is worth."""
    returns: Float64[np.ndarray, " episode"]
    """Sum of the rewards of each episode, not discounted."""
    lengths: Float64[np.ndarray, " episode"]
    """Steps of each episode."""

    @property
    def policy(self) -> Float64[np.ndarray, "state action"]:
        """The greedy policy."""
        return greedy_policy(self.values)


class Transition(NamedTuple):
    """One step."""

    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    """Whether the task ended: then nothing follows, and ``next_state`` is worth 0."""
    over: bool
    """Whether the episode ended or was cut short."""


class TabularEnv:
    """A Gymnasium environment as tabular methods use it.

    Args:
        env: The environment; it stays open.
        config: Length and seed of episodes, and how often to explore.

    Raises:
        InputError: If states or actions are not numbered from 0.

    Example:
        >>> env = TabularEnv(gymnasium.make("FrozenLake-v1"), TabularConfig())
        >>> env.states, env.actions, env.reset()
        (16, 4, 0)
    """

    over: bool = True
    """Whether the episode is over."""
    steps: int = 0
    """Number of steps in all episodes so far."""

    def __init__(self, env: gymnasium.Env[Any, Any], config: TabularConfig) -> None:
        self.states = _count(env.observation_space, "states")
        self.actions = _count(env.action_space, "actions")
        # Another stream than that of the environment, which is seeded with the number alone.
        self.random = np.random.default_rng([config.seed, 1])
        self.returns: list[float] = []
        self.lengths: list[float] = []
        self._env, self._config = env, config
        self._seed: int | None = config.seed
        self._state = 0

    @property
    def epsilon(self) -> float:
        """How often to explore in the next step."""
        return self._config.epsilon / (self.steps + 1) ** self._config.epsilon_power

    def reset(self, state: int | None = None) -> int:
        """Begin an episode, in a given state if the environment can, and return its state.

        Raises:
            InputError: If the environment begins elsewhere than it was told to.
        """
        options = None if state is None else {"state": state}
        found = int(self._env.reset(seed=self._seed, options=options)[0])
        self._seed = None  # one seed decides the whole run, not each episode
        if state is not None and found != state:
            raise InputError(
                "exploring starts need an environment that begins in the state of "
                f"`reset(options={options})`. It began in {found}."
            )
        self.over, self._state = False, found
        self.returns.append(0.0)
        self.lengths.append(0.0)
        return found

    def step(self, action: int) -> tuple[int, float, bool]:
        """Do an action; return next state, reward, and whether the task ended.

        Raises:
            InputError: If the reward is not a finite number.
        """
        found, reward, terminated, truncated, _ = self._env.step(action)
        reward = float(reward)
        if not math.isfinite(reward):
            raise InputError(
                "the environment's reward must be a finite number. "
                f"Got {reward} for action {action} in state {self._state}."
            )
        self.steps += 1
        self.returns[-1] += reward
        self.lengths[-1] += 1
        self._state = int(found)
        self.over = bool(terminated or truncated or self.lengths[-1] >= self._config.length)
        return self._state, reward, bool(terminated)

    def explore(self, values: np.ndarray) -> int:
        """Choose an action epsilon-greedily: the first of the highest value, or any."""
        if self.random.random() < self.epsilon:
            return int(self.random.integers(self.actions))
        return int(values.argmax())

    def follow(
        self, policy: Float64[np.ndarray, "state action"], *, state: int | None = None
    ) -> Iterator[Transition]:
        """Do one episode by a policy, whose rows may change on the way.

        Args:
            policy: Probability of each action in each state.
            state: Where to begin, if the environment can.
        """
        here = self.reset(state)
        while not self.over:
            passed = policy[here].cumsum()
            action = int(np.searchsorted(passed, self.random.random() * passed[-1], side="right"))
            there, reward, terminated = self.step(action)
            yield Transition(here, action, reward, there, terminated, self.over)
            here = there

    def learned(self, values: Float64[np.ndarray, "state action"]) -> Learned:
        """Return a table together with how the episodes went."""
        return Learned(values, np.array(self.returns), np.array(self.lengths))

    def check_policy(self, policy: Float64[np.ndarray, "state action"]) -> None:
        """Refuse what is no policy for this environment.

        Raises:
            InputError: If there is not one distribution of all actions for each state.
        """
        if policy.shape != (self.states, self.actions):
            raise InputError(
                f"the policy must have {self.states} states and {self.actions} actions. "
                f"Got {policy.shape[0]} and {policy.shape[1]}."
            )
        if not ((policy >= 0).all() and np.allclose(policy.sum(axis=1), 1, rtol=0, atol=1e-9)):
            raise InputError("every row of the policy must be probabilities that sum to 1.")


def totals(rewards: Sequence[float], *, discount: float, ahead: float = 0.0) -> list[float]:
    """Return the discounted sum of the rewards from each step on, and of what lies ahead of all.

    Example:
        >>> totals([1.0, 0.0, 2.0], discount=0.5, ahead=8.0)
        [2.5, 3.0, 6.0]
    """
    sums = [ahead]
    for reward in reversed(rewards):
        sums.append(reward + discount * sums[-1])
    return sums[:0:-1]


def _count(space: gymnasium.Space[Any], name: str) -> int:
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0:
        raise InputError(
            f"tabular methods need {name} that are numbered from 0 (gymnasium.spaces.Discrete). "
            f"Got {space}."
        )
    return int(space.n)
