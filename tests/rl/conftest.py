"""Worlds small enough to be learnt in a moment, and the exact answers to hold methods against."""

from collections.abc import Callable

import numpy as np
import pytest

from eyehand.envs.grid_world import GridWorld
from eyehand.functional.bellman import action_values
from eyehand.functional.decision_process import DecisionProcess
from eyehand.rl.policy_iteration import policy_iteration


@pytest.fixture(scope="session")
def small() -> GridWorld:
    """Six cells without an end: one is forbidden, one pays."""
    return GridWorld(rows=2, columns=3, target=(1, 1), forbidden=((0, 1),))


@pytest.fixture(scope="session")
def slippery() -> GridWorld:
    """The same, where one action of five is replaced by chance."""
    return GridWorld(rows=2, columns=3, target=(1, 1), forbidden=((0, 1),), slip=0.2)


@pytest.fixture(scope="session")
def ending() -> GridWorld:
    """Twelve cells, a start, and a target that ends the episode."""
    return GridWorld(
        rows=3, columns=4, target=(2, 2), forbidden=((1, 2), (2, 1)), start=(0, 0),
        target_reward=0.0, forbidden_reward=-10.0, boundary_reward=-10.0, other_reward=-1.0,
        target_ends=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def best() -> Callable[[DecisionProcess], np.ndarray]:
    """How to find the optimal values of the actions of a known process."""

    def find(process: DecisionProcess) -> np.ndarray:
        return action_values(process, policy_iteration(process).values)

    return find


@pytest.fixture(scope="session")
def random_process() -> Callable[..., DecisionProcess]:
    """How to draw a process."""

    def draw(
        seed: int, *, states: int = 6, actions: int = 3, discount: float = 0.9
    ) -> DecisionProcess:
        random = np.random.default_rng(seed)
        transition = random.dirichlet(np.full(states, 0.3), size=(states, actions))
        return DecisionProcess(transition, random.normal(size=(states, actions)), discount)

    return draw
