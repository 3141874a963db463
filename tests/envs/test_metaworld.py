"""The start state is checked in what physics, pictures and the expert see, bit for bit."""

import warnings
from typing import Any

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from eyehand.envs.check import check_env
from eyehand.envs.instructions import instructions
from eyehand.envs.metaworld import (
    ACTION_DIM,
    CAMERA,
    MAX_STEPS,
    TASKS,
    TIERS,
    MetaWorldEnv,
    select_tasks,
)
from eyehand.types import InputError


def blind(task: str) -> MetaWorldEnv:
    return MetaWorldEnv(task, render_observations=False)


def inside(env: MetaWorldEnv) -> list[np.ndarray]:
    """Everything that the future or a picture depends on."""
    data, model = env._simulator.data, env._simulator.model
    arrays = [data.qpos, data.qvel, data.mocap_pos, data.mocap_quat, data.qacc_warmstart,
              data.ctrl, data.xpos, data.geom_xpos, data.site_xpos,
              model.body_pos, model.site_pos]  # fmt: skip
    assert env._privileged is not None
    return [env._privileged.copy(), *(array.copy() for array in arrays)]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def disturb(env: MetaWorldEnv, steps: int = 12) -> None:
    for step in range(steps):
        env.step(np.array([(-1) ** (step // 4), 1, -1, 1], np.float32))


def raw(task: str, seed: int) -> Any:
    """Meta-World itself, new, under the published protocol."""
    env: Any = ALL_V3_ENVIRONMENTS[f"{task}-v3"](
        render_mode="rgb_array", camera_name=CAMERA, width=96, height=96
    )
    env._set_task_called = env.seeded_rand_vec = True
    env._freeze_rand_vec = env._partially_observable = False
    env.__dict__.pop("sawyer_observation_space", None)
    env.seed(seed)
    return env


def test_tiers_are_the_published_ones() -> None:
    assert {name: len(tasks) for name, tasks in TIERS.items()} == {
        "easy": 28, "medium": 11, "hard": 6, "very-hard": 5,
    }  # fmt: skip
    assert {f"{task}-v3" for task in TASKS} == set(ALL_V3_ENVIRONMENTS)
    assert len(TASKS) == len(set(TASKS)) == 50


def test_select_tasks() -> None:
    assert select_tasks("all") == TASKS
    assert select_tasks("push, very-hard ,push") == ("push", *TIERS["very-hard"])
    with pytest.raises(InputError, match=r"no task 'drawer-opn'. Did you mean 'drawer-open'\?"):
        select_tasks("reach,drawer-opn")


def test_unknown_task() -> None:
    with pytest.raises(InputError, match=r"'reech'.*'reach'"):
        MetaWorldEnv("reech")


@pytest.mark.parametrize("task", TASKS)
def test_start_depends_on_task_and_seed_alone(task: str, opengl: None) -> None:
    env, other = blind(task), blind(task)
    env.reset(seed=5)
    start, picture = inside(env), env.render()
    env.reset(seed=6)
    assert not same(start, inside(env))
    assert not np.array_equal(picture, env.render())
    disturb(env)
    observation, _ = env.reset(seed=5)
    assert same(start, inside(env))
    assert np.array_equal(picture, env.render())
    assert observation["instruction"] == instructions(task).canonical
    other.reset(seed=5)
    assert same(start, inside(other))
    env.close()


def test_reset_undoes_whatever_was_written_to_the_model() -> None:
    env = blind("drawer-open")
    env.reset(seed=5)
    start = inside(env)
    model = env._simulator.model
    before = model.geom_size.copy()
    model.geom_size *= 1.5
    model.body_mass *= 2
    model.site_pos += 0.1
    env.reset(seed=5)
    assert same(start, inside(env))
    np.testing.assert_array_equal(model.geom_size, before)


def trajectory(env: MetaWorldEnv, seed: int, steps: int = 60) -> list[list[np.ndarray]]:
    env.reset(seed=seed)
    result = [inside(env)]
    for _ in range(steps):
        env.step(env.expert_action())
        result.append(inside(env))
    return result


@pytest.mark.parametrize("task", ["door-open", "shelf-place", "hammer"])
def test_trajectory_after_success_and_partial_episode(task: str) -> None:
    env = blind(task)
    fresh = trajectory(env, 3)
    env.reset(seed=8)
    while not env.step(env.expert_action())[2]:
        pass
    for _ in ("after a success", "after a partial episode"):
        for one, two in zip(fresh, trajectory(env, 3), strict=True):
            assert same(one, two)


def assert_physics_is_metaworlds(task: str, steps: int) -> None:
    """Bit for bit the simulation that Meta-World runs by itself, though pictures are drawn."""
    theirs, ours = raw(task, 4), MetaWorldEnv(task, image_size=16)
    want, _ = theirs.reset()
    ours.reset(seed=4)
    for _ in range(steps):
        assert np.array_equal(want, ours._privileged)
        assert np.array_equal(theirs.data.qpos, ours._simulator.data.qpos)
        assert np.array_equal(theirs.data.qvel, ours._simulator.data.qvel)
        action = ours.expert_action()
        want, reward, _, _, info = theirs.step(action)
        _, our_reward, terminated, _, our_info = ours.step(action)
        assert our_reward == float(reward)
        assert terminated == our_info["success"] == bool(info["success"])
    theirs.close()
    ours.close()


@pytest.mark.parametrize("task", ["reach", "stick-pull", "lever-pull"])
def test_physics_is_metaworlds(task: str, opengl: None) -> None:
    assert_physics_is_metaworlds(task, 40)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_physics_is_metaworlds_for_every_task(task: str, opengl: None) -> None:
    assert_physics_is_metaworlds(task, MAX_STEPS)


def test_film_is_metaworlds_picture_turned(opengl: None) -> None:
    """LeRobot flips both axes of what ``env.render()`` returns; so do we, and no pixel differs."""
    theirs, ours = raw("drawer-open", 2), MetaWorldEnv("drawer-open", quality="film")
    theirs.reset()
    observation, _ = ours.reset(seed=2)
    assert np.array_equal(np.flip(theirs.render(), (0, 1)), observation["image"][CAMERA])
    theirs.close()
    ours.close()


def test_passes_the_battery(opengl: None) -> None:
    env = MetaWorldEnv("door-close", image_size=16)
    check_env(env, solve=env.expert_action)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_passes_the_battery(task: str, opengl: None) -> None:
    env = MetaWorldEnv(task)  # at 16 px some objects' places look alike
    check_env(env)
    env.close()


def test_nothing_privileged_is_observed() -> None:
    env = blind("push")
    observation, info = env.reset(seed=0)
    assert set(observation) == {"image", "state", "instruction"}
    assert observation["state"].shape == (4,)
    hand = env._simulator.data.body("hand").xpos
    np.testing.assert_allclose(observation["state"][:3], hand, atol=1e-6)
    assert 0 <= observation["state"][3] <= 1
    _, _, _, _, step_info = env.step(np.zeros(4, np.float32))
    assert info == step_info == {"success": False}


def test_actions_are_clipped() -> None:
    env = blind("reach")
    env.reset(seed=0)
    env.step(np.array([5, -7, 0.5, 3], np.float32))
    clipped = inside(env)
    env.reset(seed=0)
    env.step(np.array([1, -1, 0.5, 1], np.float32))
    assert same(clipped, inside(env))


def test_expert_is_clipped_and_silent() -> None:
    env = blind("button-press")
    env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actions = []
        for _ in range(30):
            actions.append(env.expert_action())
            env.step(actions[-1])
    assert actions[0].dtype == np.float32
    assert np.abs(actions).max() == 1


def test_refuses_bad_actions() -> None:
    env = blind("reach")
    with pytest.raises(RuntimeError, match="'reach' is over"):
        env.step(np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match="call `reset` first"):
        env.expert_action()
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"4 numbers. Got an array of shape \(3,\)"):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(InputError, match=r"finite numbers.*nan"):
        env.step(np.array([0, np.nan, 0, 0], np.float32))


def test_time_limit() -> None:
    env = blind("reach")
    env.reset(seed=0)
    ends = [env.step(np.array([0, 0, 1, 0], np.float32))[2:4] for _ in range(MAX_STEPS)]
    assert ends == [(False, False)] * (MAX_STEPS - 1) + [(False, True)]
    with pytest.raises(RuntimeError, match="is over"):
        env.step(np.zeros(ACTION_DIM, np.float32))


def test_reset_without_seed_draws_one() -> None:
    env = blind("reach")
    env.reset(seed=0)
    unseeded = [env.reset()[0]["state"] for _ in range(2)]
    states = [inside(env)]
    env.reset()
    assert not same(states[0], inside(env))
    env.reset(seed=0)  # Gymnasium: the chance that follows a seed is that seed's
    np.testing.assert_array_equal(unseeded[0], env.reset()[0]["state"])
