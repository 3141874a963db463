"""Grid worlds: a robot on a chessboard, small enough to be solved exactly.

Five actions move it to a neighbouring cell or let it stay. Forbidden cells may be entered, at a
cost; the boundary may not, but the attempt costs. A grid world is played as a Gymnasium
environment and written out as the arrays of a decision process, both by the same `GridWorld.move`,
so what learns from the one can be measured against the exact answer of the other.

`BOOK_GRID` is the world of Zhao, 2025, *Mathematical Foundations of Reinforcement Learning*,
chapters 1 to 8, without an end: the robot is paid for every step that it stays on the target.
`PATH_TASK` is the task of its chapter 7, in which the target ends an episode.

Cells are (row, column), both from 0 at the upper left; the book counts from 1. A state is the
number of a cell, row by row.
"""

from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import gymnasium
import numpy as np
from jaxtyping import Float64, UInt8

from eyehand.functional.decision_process import DecisionProcess
from eyehand.types import InputError

Cell = tuple[int, int]
ACTIONS = ("up", "right", "down", "left", "stay")
"""Names of the actions, by number."""
MOVES: tuple[Cell, ...] = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))
"""How many rows down and columns to the right each action moves."""
PIXELS = 16
"""Height and width of a cell in a picture."""
FLOOR, FORBIDDEN, TARGET, ROBOT = (
    np.array(colour, np.uint8)
    for colour in ((239, 236, 228), (222, 150, 60), (28, 138, 72), (63, 117, 181))
)
"""Colours, 0-255."""


@dataclass(frozen=True, kw_only=True)
class GridWorld:
    """A grid world: where its cells are, and what they pay.

    Raises:
        InputError: If a cell lies outside, the target is forbidden, episodes would be over where
            they begin, a reward is not finite, or ``slip`` lies outside [0, 1].

    Example:
        >>> world = GridWorld(rows=1, columns=3, target=(0, 2), forbidden=())
        >>> world.move(1, ACTIONS.index("right")), world.move(1, ACTIONS.index("up"))
        ((2, 1.0), (1, -1.0))
    """

    rows: int
    columns: int
    target: Cell
    """The cell that pays, and at which an episode ends if ``target_ends``."""
    forbidden: tuple[Cell, ...]
    """Cells that cost whoever enters them or stays."""
    start: Cell | None = None
    """Where episodes begin; None: anywhere, by the seed, but not where they would be over."""
    target_reward: float = 1.0
    """For a step that ends on the target."""
    forbidden_reward: float = -1.0
    """For a step that ends on a forbidden cell."""
    boundary_reward: float = -1.0
    """For an attempt to leave the grid; the robot stays where it is."""
    other_reward: float = 0.0
    """For any other step."""
    target_ends: bool = False
    """Whether the episode is over on the target."""
    slip: float = 0.0
    """How often a random action happens in place of the chosen one."""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise InputError(
                f"a grid needs 1 row and 1 column or more. Got {self.rows} and {self.columns}."
            )
        named = [self.target, *self.forbidden, *([] if self.start is None else [self.start])]
        for row, column in named:
            if not (0 <= row < self.rows and 0 <= column < self.columns):
                raise InputError(
                    f"cells of this grid are (0, 0) to ({self.rows - 1}, {self.columns - 1}). "
                    f"Got ({row}, {column})."
                )
        if self.target in self.forbidden:
            raise InputError(f"the target must not be forbidden. Got {self.target} as both.")
        if self.target_ends and (self.start == self.target or not self.starts):
            raise InputError(
                "episodes must begin elsewhere than on a target that ends them. "
                f"Got {self.start or 'the only cell'} and {self.target}."
            )
        rewards = (
            self.target_reward, self.forbidden_reward, self.boundary_reward, self.other_reward
        )  # fmt: skip
        if not np.isfinite(rewards).all():
            raise InputError(f"rewards must be finite numbers. Got {list(rewards)}.")
        if not 0 <= self.slip <= 1:
            raise InputError(f"slip must be 0 to 1; got {self.slip}.")

    @property
    def states(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    @property
    def starts(self) -> list[int]:
        """Numbers of the cells in which an episode may begin: all in which it would not be over."""
        end = self.state(self.target) if self.target_ends else None
        return [state for state in range(self.states) if state != end]

    def state(self, cell: Cell) -> int:
        """Return the number of a cell."""
        return cell[0] * self.columns + cell[1]

    def move(self, state: int, action: int) -> tuple[int, float]:
        """Return where an action leads, without slipping, and what it pays."""
        row, column = divmod(state, self.columns)
        row, column = row + MOVES[action][0], column + MOVES[action][1]
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            return state, self.boundary_reward
        if (row, column) == self.target:
            return self.state((row, column)), self.target_reward
        if (row, column) in self.forbidden:
            return self.state((row, column)), self.forbidden_reward
        return self.state((row, column)), self.other_reward

    def process(self, *, discount: float) -> DecisionProcess:
        """Return the world as arrays; a target that ends episodes is never left and pays nothing.

        Args:
            discount: Weight of the future per step, in [0, 1).

        Raises:
            InputError: If the discount lies outside.
        """
        actions = range(len(ACTIONS))
        transition = np.zeros((self.states, len(ACTIONS), self.states))
        reward = np.zeros((self.states, len(ACTIONS)))
        for state in range(self.states):
            for action in actions:
                if self.target_ends and state == self.state(self.target):
                    transition[state, action, state] = 1.0
                    continue
                for done in actions:
                    chance = self.slip / len(ACTIONS) + (1 - self.slip) * (done == action)
                    place, paid = self.move(state, done)
                    transition[state, action, place] += chance
                    reward[state, action] += chance * paid
        return DecisionProcess(transition, reward, discount)

    def middles(self) -> Float64[np.ndarray, "state 2"]:
        """Return where the middle of each cell is: x to the right and y down, both in (0, 1)."""
        row, column = np.divmod(np.arange(self.states), self.columns)
        return np.stack([(column + 0.5) / self.columns, (row + 0.5) / self.rows], axis=1)


BOOK_GRID = GridWorld(
    rows=5,
    columns=5,
    target=(3, 2),
    forbidden=((1, 1), (1, 2), (2, 2), (3, 1), (3, 3), (4, 1)),
)
"""The 5 x 5 world whose values the book publishes, with a discount of 0.9."""
PATH_TASK = replace(
    BOOK_GRID,
    start=(0, 0),
    target_reward=0.0,
    forbidden_reward=-10.0,
    boundary_reward=-10.0,
    other_reward=-1.0,
    target_ends=True,
)
"""Find a short way from the upper left to the target (Zhao, 2025, sec. 7.2)."""


class GridWorldEnv(gymnasium.Env[int, int]):
    """A grid world to be played: the observation is the number of the cell, and so is the state.

    ``reset(seed=...)`` decides where an episode begins and when the robot slips;
    ``reset(options={"state": s})`` begins in a given state. An episode is terminated on the target
    if the world says so, and never truncated: wrap it in `gymnasium.wrappers.TimeLimit`.

    Args:
        world: Cells and rewards.
        render_mode: ``rgb_array`` for pictures from `render`.

    Raises:
        InputError: If there is no such render mode.

    Example:
        >>> env = GridWorldEnv(PATH_TASK)
        >>> env.reset(seed=0), env.step(ACTIONS.index("right"))
        ((0, {}), (1, -1.0, False, False, {}))
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, world: GridWorld = BOOK_GRID, *, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"the render mode must be rgb_array or None. Got {render_mode!r}.")
        self.world, self.render_mode = world, render_mode
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(world.states)
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(ACTIONS))
        actions = range(len(ACTIONS))
        self._moves = [[world.move(state, act) for act in actions] for state in range(world.states)]
        self._end = world.state(world.target) if world.target_ends else None
        self._state: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Decides everything that is random from here on.
            options: May hold ``state``, the number of the first cell.

        Raises:
            InputError: If there is no such state, or the episode would be over in it.
        """
        super().reset(seed=seed)
        wanted = (options or {}).get("state")
        if wanted is not None:
            if wanted not in range(self.world.states):
                raise InputError(
                    f"states of this grid are 0 to {self.world.states - 1}. Got {wanted!r}."
                )
            if wanted == self._end:
                raise InputError(
                    f"an episode cannot begin in state {wanted}, where it would be over."
                )
            self._state = int(wanted)
        elif self.world.start is not None:
            self._state = self.world.state(self.world.start)
        else:
            starts = self.world.starts
            self._state = starts[self.np_random.integers(len(starts))]
        return self._state, {}

    def step(self, action: SupportsIndex) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move.

        Returns:
            State, reward, terminated (the target ends the episode), truncated (never), nothing.

        Raises:
            InputError: If there is no such action.
            RuntimeError: If no episode has begun, or it is over.
        """
        if self._state is None or self._state == self._end:
            raise RuntimeError("the episode in the grid world is over; call `reset` to begin one.")
        if action not in range(len(ACTIONS)):
            raise InputError(f"actions are 0 to {len(ACTIONS) - 1}. Got {action!r}.")
        if self.world.slip and self.np_random.random() < self.world.slip:
            action = int(self.np_random.integers(len(ACTIONS)))
        self._state, reward = self._moves[self._state][int(action)]
        return self._state, reward, self._state == self._end, False, {}

    def render(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """Return the present picture, ``PIXELS`` a cell, or None without a render mode."""
        if self.render_mode is None:
            return None
        world = self.world
        cells = np.broadcast_to(FLOOR, (world.rows, world.columns, 3)).copy()
        for cell in world.forbidden:
            cells[cell] = FORBIDDEN
        cells[world.target] = TARGET
        picture = cells.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
        if self._state is not None:
            row, column = (PIXELS * number for number in divmod(self._state, world.columns))
            inner = slice(PIXELS // 4, PIXELS - PIXELS // 4)
            picture[row : row + PIXELS, column : column + PIXELS][inner, inner] = ROBOT
        return picture
