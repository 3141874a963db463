"""Grid worlds: the arrays are what is played, the contract holds, errors name what came."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as check_gymnasium_env

from eyehand.envs.check import check_env
from eyehand.envs.grid_world import (
    ACTIONS,
    BOOK_GRID,
    FORBIDDEN,
    PATH_TASK,
    PIXELS,
    ROBOT,
    TARGET,
    GridWorld,
    GridWorldEnv,
)
from eyehand.types import InputError

UP, RIGHT, DOWN, LEFT, STAY = range(5)
SLIPPERY = GridWorld(rows=2, columns=3, target=(1, 2), forbidden=((0, 1),), slip=0.4)


@pytest.mark.parametrize(
    ("cell", "action", "there", "paid"),
    [
        ((0, 0), UP, (0, 0), -1.0),  # the boundary
        ((0, 4), RIGHT, (0, 4), -1.0),
        ((0, 0), RIGHT, (0, 1), 0.0),
        ((0, 1), DOWN, (1, 1), -1.0),  # a forbidden cell can be entered
        ((1, 1), STAY, (1, 1), -1.0),  # and pays as long as one stays
        ((1, 1), LEFT, (1, 0), 0.0),
        ((4, 1), DOWN, (4, 1), -1.0),
        ((4, 2), UP, (3, 2), 1.0),
        ((3, 2), STAY, (3, 2), 1.0),
    ],
)
def test_moves_of_the_book(
    cell: tuple[int, int], action: int, there: tuple[int, int], paid: float
) -> None:
    state, reward = BOOK_GRID.move(BOOK_GRID.state(cell), action)
    assert (divmod(state, 5), reward) == (there, paid)


@pytest.mark.parametrize("world", [BOOK_GRID, PATH_TASK, SLIPPERY], ids=["book", "path", "slip"])
def test_the_arrays_are_what_is_played(world: GridWorld) -> None:
    process, env = world.process(discount=0.9), GridWorldEnv(world)
    env.reset(seed=0)
    samples = 200 if world.slip else 1
    for state in range(world.states):
        if world.target_ends and state == world.state(world.target):
            assert process.transition[state, :, state].tolist() == [1.0] * 5
            assert not process.reward[state].any()
            continue
        for action in range(5):
            seen, paid = np.zeros(world.states), 0.0
            for _ in range(samples):
                env.reset(options={"state": state})
                there, reward, terminated, truncated, _ = env.step(action)
                seen[there] += 1 / samples
                paid += reward / samples
                assert terminated == (world.target_ends and there == world.state(world.target))
                assert not truncated
            np.testing.assert_allclose(process.transition[state, action], seen, atol=0.15)
            assert process.reward[state, action] == pytest.approx(paid, abs=0.3)


def test_slipping_by_hand() -> None:
    """From the lower left to the right: really, by slipping so, or anywhere else."""
    process = SLIPPERY.process(discount=0.9)
    row = process.transition[SLIPPERY.state((1, 0)), RIGHT]
    np.testing.assert_allclose(row, [0.08, 0, 0, 0.24, 0.68, 0], atol=1e-15)
    # Two of the five directions are the boundary.
    assert process.reward[SLIPPERY.state((1, 0)), RIGHT] == pytest.approx(-0.16)


@pytest.mark.parametrize("world", [BOOK_GRID, PATH_TASK, SLIPPERY], ids=["book", "path", "slip"])
def test_gymnasiums_own_check(world: GridWorld) -> None:
    env = GridWorldEnv(world)
    env.spec = EnvSpec(id="GridWorld-v0", entry_point=GridWorldEnv, kwargs={"world": world})
    check_gymnasium_env(env)


def test_our_check_of_environments() -> None:
    check_env(gymnasium.wrappers.TimeLimit(GridWorldEnv(BOOK_GRID), max_episode_steps=20))


def test_the_seed_decides_everything() -> None:
    def play(env: GridWorldEnv, seed: int) -> list[Any]:
        return [env.reset(seed=seed)[0], *(env.step(RIGHT)[:2] for _ in range(30))]

    env = GridWorldEnv(SLIPPERY)
    first = play(env, 3)
    assert play(env, 4) != first
    assert play(env, 3) == first == play(GridWorldEnv(SLIPPERY), 3)


def test_starts_cover_every_cell_but_the_end() -> None:
    ending = replace(SLIPPERY, target_ends=True)
    for world, wanted in ((SLIPPERY, set(range(6))), (ending, set(range(5)))):
        env = GridWorldEnv(world)
        assert {env.reset(seed=seed)[0] for seed in range(60)} == wanted == set(world.starts)
    assert {GridWorldEnv(PATH_TASK).reset(seed=seed)[0] for seed in range(9)} == {0}


def test_middles_are_numbered_as_states() -> None:
    middles = GridWorld(rows=2, columns=4, target=(0, 0), forbidden=()).middles()
    np.testing.assert_allclose(middles[0], [0.125, 0.25])
    np.testing.assert_allclose(middles[3], [0.875, 0.25])
    np.testing.assert_allclose(middles[4], [0.125, 0.75])


def test_pictures() -> None:
    env = GridWorldEnv(BOOK_GRID, render_mode="rgb_array")
    env.reset(options={"state": BOOK_GRID.state((0, 3))})
    picture = env.render()
    assert picture is not None
    assert picture.shape == (5 * PIXELS, 5 * PIXELS, 3)

    def middle(row: int, column: int) -> list[int]:
        half = PIXELS // 2
        return picture[row * PIXELS + half, column * PIXELS + half].tolist()

    assert middle(0, 3) == ROBOT.tolist()
    assert middle(1, 1) == FORBIDDEN.tolist()
    assert middle(3, 2) == TARGET.tolist()
    assert GridWorldEnv(BOOK_GRID).render() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": (5, 0)}, r"\(0, 0\) to \(4, 4\). Got \(5, 0\)"),
        ({"start": (0, -1)}, r"Got \(0, -1\)"),
        ({"forbidden": ((3, 2),)}, r"must not be forbidden. Got \(3, 2\)"),
        ({"rows": 0}, "Got 0 and 5"),
        ({"other_reward": float("nan")}, r"finite numbers. Got \[1.0, -1.0, -1.0, nan\]"),
        ({"slip": 1.5}, "slip must be 0 to 1; got 1.5"),
        ({"start": (3, 2), "target_ends": True}, r"begin elsewhere.*Got \(3, 2\) and \(3, 2\)"),
        (
            {"rows": 1, "columns": 1, "target": (0, 0), "forbidden": (), "target_ends": True},
            r"Got the only cell and \(0, 0\)",
        ),
    ],
)
def test_what_is_no_grid_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(BOOK_GRID, **change)


def test_what_cannot_be_done_is_refused() -> None:
    env = GridWorldEnv(PATH_TASK)
    with pytest.raises(RuntimeError, match="call `reset`"):
        env.step(STAY)
    env.reset(options={"state": PATH_TASK.state((4, 2))})
    assert env.step(UP)[1:3] == (0.0, True)
    with pytest.raises(RuntimeError, match="is over"):
        env.step(STAY)
    env.reset()
    with pytest.raises(InputError, match=r"actions are 0 to 4. Got 5"):
        env.step(len(ACTIONS))
    with pytest.raises(InputError, match=r"states of this grid are 0 to 24. Got 25"):
        env.reset(options={"state": 25})
    with pytest.raises(InputError, match="cannot begin in state 17, where it would be over"):
        env.reset(options={"state": 17})
    with pytest.raises(InputError, match=r"rgb_array or None. Got 'human'"):
        GridWorldEnv(render_mode="human")
