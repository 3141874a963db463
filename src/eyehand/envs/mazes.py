"""A robot on wheels finds its way through a maze that it never saw, from what is near.

It feels distances around it, where the goal lies as the crow flies, and how long it has been
nearby. The reward is the task's of Habitat's point navigation (Savva et al., 2019,
https://arxiv.org/abs/1904.01201), and so is its score, SPL (Anderson et al., 2018,
https://arxiv.org/abs/1807.06757).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.functional.maze import POINTS, THICK, clearance, draw_maze, read_at, ways_to
from eyehand.types import EnvironmentStep, InputError, check_ranges

RADIUS, NEAR = 0.2, 0.4
"""Of the robot, and how near the goal is reached, m; a cell is a metre wide."""
SPEED, TURN, TIMESTEP = 0.8, 2.0, 0.1
"""Largest speed, m/s, and turning, rad/s; and the seconds of an action."""
RAYS, FAR = 16, 3.0
"""Directions in which distances are felt, and the farthest, m."""
AROUND = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
"""Where the robot feels how long it has been: here, ahead, left, behind, right, m."""


@dataclass(frozen=True, kw_only=True)
class MazesConfig:
    """How large mazes are, and how long the robot may look for the goal.

    Raises:
        InputError: If a number is out of its range.
    """

    cells: tuple[int, int] = (3, 6)
    """Smallest and largest number of cells along a side; every maze has its own."""
    loops: int = 2
    """Walls that are missing, so that some ways are round trips."""
    seconds: float = 60.0
    """Length of an episode."""
    trail: bool = True
    """Whether the robot feels how long it has been nearby; without, it remembers nothing but its
    last action."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            prefix="MazesConfig.",
            cells=(2, 30),
            loops=(0, 100),
            seconds=(0.1, 10_000),
        )
        low, high = self.cells
        if low > high:
            raise InputError(
                f"MazesConfig.cells must be the smallest, then the largest; got {low}, {high}."
            )


class Mazes:
    """Robots side by side, each in its own maze; see `eyehand.types.Environments`.

    Actions are speed and turning. An episode ends at the goal.

    Args:
        config: How large mazes are, and how long the robot may look.
        count: How many robots.
        learning: Nothing is easier while learning; here for the likeness to other worlds.
    """

    def __init__(self, config: MazesConfig, count: int, *, learning: bool = False) -> None:
        self.config, self._count, most = config, count, max(config.cells)
        self.action_space: Any = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_dim = RAYS + 3 + len(AROUND) + 2
        self.steps = round(config.seconds / TIMESTEP)
        """Most steps of an episode."""
        points = most * POINTS + THICK
        self._clear, self._way = np.zeros((2, count, points, points))
        self._held: dict[str, np.ndarray] = {
            "seed": np.zeros(count, np.int64),
            "place": np.zeros((count, 2)),
            "heading": np.zeros(count),
            "goal": np.zeros((count, 2)),
            "been": np.zeros((count, most, most)),
            "action": np.zeros((count, 2)),
            "length": np.zeros(count, np.int64),
            "driven": np.zeros(count),
            "shortest": np.zeros(count),
            "arrived": np.zeros(count, bool),
        }
        """All that changes, with one row a robot."""

    def __len__(self) -> int:
        """Return how many robots there are."""
        return self._count

    def begin(self, which: int, seed: int) -> Float32[np.ndarray, " observation"]:
        """Begin an episode of one robot; return what it feels first."""
        held = self._held
        held["seed"][which] = seed
        self._make_maze(which)
        for name in ("been", "action", "length", "driven", "arrived"):
            held[name][which] = 0
        held["shortest"][which] = self._left(slice(which, which + 1))[0]
        return self._feel(slice(which, which + 1))[0]

    def step(self, actions: Tensor) -> EnvironmentStep:
        """Act in all of them; see `eyehand.types.Environments.step`."""
        held, rows = self._held, np.arange(len(self))
        before = self._left(slice(None))
        held["action"] = actions.cpu().numpy().clip(-1, 1).astype(np.float64)
        held["heading"] = held["heading"] + TIMESTEP * TURN * held["action"][:, 1]
        facing = np.stack([np.cos(held["heading"]), np.sin(held["heading"])], axis=1)
        wanted = TIMESTEP * SPEED * held["action"][:, :1] * facing
        start = held["place"].copy()
        for part in (wanted, wanted * [1, 0], wanted * [0, 1]):  # a wall lets the robot slide along
            stopped = (held["place"] == start).all(axis=1)
            there = start + part
            free = read_at(self._clear, rows, there) >= RADIUS
            held["place"] = np.where((stopped & free)[:, None], there, held["place"])
        held["driven"] += np.linalg.norm(held["place"] - start, axis=1)
        cell = held["place"].astype(int).clip(0, held["been"].shape[1] - 1)
        held["been"][rows, cell[:, 1], cell[:, 0]] += TIMESTEP
        held["length"] += 1
        held["arrived"] = np.linalg.norm(held["goal"] - held["place"], axis=1) < NEAR
        reward = before - self._left(slice(None)) - 0.01 + 2.5 * held["arrived"]
        truncated = (held["length"] >= self.steps) & ~held["arrived"]
        return (
            self._feel(slice(None)),
            reward.astype(np.float32),
            held["arrived"].copy(),
            truncated,
        )

    def outcome(self, which: int) -> Mapping[str, float]:
        """Return whether the robot arrived, and its SPL.

        Returns:
            ``success``: 1 at the goal; ``spl``: success times the shortest way to where the goal is
            reached over the way that was driven, where that is longer.
        """
        held = self._held
        success = float(held["arrived"][which])
        shortest = held["shortest"][which] - NEAR  # goal and start are a cell apart or more
        spl = success * shortest / max(held["driven"][which], shortest)
        return {"success": success, "spl": float(spl)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that changes."""
        return {name: torch.from_numpy(values.copy()) for name, values in self._held.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> Float32[np.ndarray, "env observation"]:
        """Restore what `state_dict` returned; return what the robots feel."""
        for which, seed in enumerate(state["seed"].tolist()):
            self._held["seed"][which] = seed
            self._make_maze(which)
        self._held = {name: tensor.numpy().copy() for name, tensor in state.items()}
        return self._feel(slice(None))

    def close(self) -> None:
        """Let go of nothing: all is memory."""

    def _make_maze(self, which: int) -> None:
        """Make the maze of the present episode, with start and goal in different cells."""
        held, random = self._held, np.random.default_rng(self._held["seed"][which])
        low, high = self.config.cells
        cells = int(random.integers(low, high, endpoint=True))
        wall = draw_maze(random, cells=cells, loops=self.config.loops)
        start, goal = random.choice(cells * cells, size=2, replace=False)
        middle = (1 + THICK / POINTS) / 2
        centres = [np.array([one % cells, one // cells]) + middle for one in (start, goal)]
        held["place"][which], held["goal"][which] = centres
        held["heading"][which] = random.uniform(0, 2 * math.pi)
        points = len(wall)
        self._clear[which], self._way[which] = 0.0, 0.0
        clear = clearance(wall)
        self._clear[which, :points, :points] = clear
        at_goal = tuple(round(number * POINTS) for number in centres[1][::-1])
        ways = ways_to(clear >= RADIUS - 1 / POINTS, (at_goal[0], at_goal[1]))
        # Points in walls have no weight where the robot can be; they must only be finite.
        longest = ways[np.isfinite(ways)].max()
        self._way[which, :points, :points] = np.where(np.isfinite(ways), ways, longest)

    def _left(self, rows: slice) -> Float[np.ndarray, " env"]:
        """Return the length of the shortest way to the goal, m."""
        return read_at(self._way, np.arange(len(self))[rows], self._held["place"][rows])

    def _feel(self, rows: slice) -> Float32[np.ndarray, "env observation"]:
        """Return what the robots feel."""
        held = self._held
        place, heading = held["place"][rows], held["heading"][rows]
        ways = heading[:, None] + np.linspace(0, 2 * math.pi, RAYS, endpoint=False)
        ray = np.stack([np.cos(ways), np.sin(ways)], axis=-1)
        far, number = np.zeros(ways.shape), np.arange(len(self))[rows]
        for _ in range(40):  # as far as nothing can be, again and again ("sphere tracing")
            far += read_at(self._clear, number, place[:, None] + far[..., None] * ray)
        goal = held["goal"][rows] - place
        distance = np.linalg.norm(goal, axis=1)
        aside = np.arctan2(goal[:, 1], goal[:, 0]) - heading
        cosine, sine = np.cos(heading)[:, None], np.sin(heading)[:, None]
        x = place[:, :1] + cosine * AROUND[:, 0] - sine * AROUND[:, 1]
        y = place[:, 1:] + sine * AROUND[:, 0] + cosine * AROUND[:, 1]
        edge = [(0, 0), (1, 1), (1, 1)]  # nobody has been outside
        row, column = np.floor(y).astype(int) + 1, np.floor(x).astype(int) + 1
        been = np.pad(held["been"][rows], edge)[np.arange(len(place))[:, None], row, column]
        seen = [
            far.clip(0, FAR) / FAR,
            np.stack([distance / 5, np.cos(aside), np.sin(aside)], axis=1),
            np.tanh(been / 5) * self.config.trail,
            held["action"][rows],
        ]
        return np.concatenate(seen, axis=1).astype(np.float32)
