"""The start state is checked in what physics, pictures and the expert see, bit for bit."""

import warnings
from typing import Any

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from eyehand.envs.check import check_robot_env
from eyehand.envs.metaworld import (
    CAMERA,
    CAMERAS,
    MAX_STEPS,
    METAWORLD,
    MT10,
    TASKS,
    TIERS,
    MetaWorldEnv,
)
from eyehand.functional.start_seed import start_seed
from eyehand.types import InputError

KINDS = ("button-press", "door-open", "drawer-open", "stick-pull", "peg-insert-side", "soccer")
"""One task each with a button, a hinge, a slide, a tool, a fit and a loose ball."""
MOST_MOVED = ("reach", "window-close", "assembly")
"""Where Meta-World's own first picture is up to 15, 20 and 28 cm off."""
SLOW = pytest.mark.slow


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
    env.seed(start_seed(task, seed))
    return env


def test_tiers_are_the_published_ones() -> None:
    assert {name: len(tasks) for name, tasks in TIERS.items()} == {
        "easy": 28, "medium": 11, "hard": 6, "very-hard": 5,
    }  # fmt: skip
    assert {f"{task}-v3" for task in TASKS} == set(ALL_V3_ENVIRONMENTS)
    assert len(TASKS) == len(set(TASKS)) == 50


def test_select_tasks() -> None:
    assert METAWORLD.select_tasks("all") == TASKS
    assert METAWORLD.select_tasks("mt10,reach") == MT10
    assert METAWORLD.select_tasks("push, very-hard ,push") == ("push", *TIERS["very-hard"])
    with pytest.raises(InputError, match=r"'drawer-opn'. Did you mean 'drawer-open'\?"):
        METAWORLD.select_tasks("reach,drawer-opn")


def test_unknown_task() -> None:
    with pytest.raises(InputError, match=r"'reech'.*'reach'"):
        MetaWorldEnv("reech")


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task in KINDS else SLOW) for task in TASKS]
)
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
    assert observation["instruction"] == METAWORLD.instructions(task).canonical
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


@pytest.mark.parametrize("task", ["door-open", "shelf-place"])
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
    theirs, ours = raw(task, 4), MetaWorldEnv(task, cameras={"corner4": 16})
    want, _ = theirs.reset()
    ours.reset(seed=4)
    for step in range(steps):
        seen = ours._privileged
        assert seen is not None
        if step > 0:  # what Meta-World says of step 0 is false; the next test has it
            assert np.array_equal(want[:18], seen[:18])  # [18:36] is the step before
            assert np.array_equal(want[36:], seen[36:])
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


MOVED = pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=() if task in MOST_MOVED else SLOW) for task in TASKS],
)


@MOVED
def test_the_first_picture_shows_the_start_state(task: str, opengl: None) -> None:
    """Nothing changes by a forward pass: not the picture, not the observation, not the landmarks.

    Meta-World's own first picture is of bodies that have been moved since.
    """
    env = MetaWorldEnv(task, cameras={"corner4": 96})
    first, _ = env.reset(seed=4)
    shown, landmarks, privileged = first["image"]["corner4"], env.landmarks(), env._privileged
    mujoco.mj_forward(env._simulator.model, env._simulator.data)
    assert np.array_equal(env.picture("corner4", size=96), shown)
    assert privileged is not None
    assert np.array_equal(env._simulator._env._get_curr_obs_combined_no_goal(), privileged[:18])
    assert np.array_equal(privileged[18:36], privileged[:18])
    assert np.array_equal(env.landmarks(), landmarks)
    if task in MOST_MOVED:
        theirs = raw(task, 4)
        theirs.reset()
        before = theirs.data.xpos.copy(), theirs.data.site_xpos.copy()
        mujoco.mj_forward(theirs.model, theirs.data)
        moved = [np.abs(theirs.data.xpos - before[0]), np.abs(theirs.data.site_xpos - before[1])]
        assert max(map(np.max, moved)) > 0.002  # metres
        theirs.close()
    env.close()


def test_no_two_tasks_share_their_draws() -> None:
    seeds = {start_seed(task, seed) for task in TASKS for seed in range(200)}
    assert len(seeds) == len(TASKS) * 200


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_physics_is_metaworlds_for_every_task(task: str, opengl: None) -> None:
    assert_physics_is_metaworlds(task, MAX_STEPS)


def test_film_is_metaworlds_picture_turned(opengl: None) -> None:
    """LeRobot flips both axes of what ``env.render()`` returns; so do we, and no pixel differs."""
    theirs, ours = raw("drawer-open", 2), MetaWorldEnv("drawer-open", quality="film")
    theirs.reset()
    mujoco.mj_forward(theirs.model, theirs.data)
    observation, _ = ours.reset(seed=2)
    assert np.array_equal(np.flip(theirs.render(), (0, 1)), observation["image"][CAMERA])
    theirs.close()
    ours.close()


def test_passes_the_battery(opengl: None) -> None:
    env = MetaWorldEnv("door-close", cameras={"corner4": 16})
    check_robot_env(env, solve=env.expert_action)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_passes_the_battery(task: str, opengl: None) -> None:
    env = MetaWorldEnv(task)  # at 16 px some objects' places look alike
    check_robot_env(env)
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
        env.step(np.zeros(len(METAWORLD.action), np.float32))


def test_reset_without_seed_draws_one() -> None:
    env = blind("reach")
    env.reset(seed=0)
    unseeded = [env.reset()[0]["state"] for _ in range(2)]
    states = [inside(env)]
    env.reset()
    assert not same(states[0], inside(env))
    env.reset(seed=0)  # Gymnasium: the chance that follows a seed is that seed's
    np.testing.assert_array_equal(unseeded[0], env.reset()[0]["state"])


@pytest.mark.parametrize(("camera", "offset"), [*((name, 0.0) for name in CAMERAS), (CAMERA, 0.1)])
def test_landmarks_lie_where_the_picture_shows_them(
    camera: str, offset: float, opengl: None
) -> None:
    """The picture without the puck differs from the picture with it around the landmark."""
    env = MetaWorldEnv("pick-place", cameras={camera: 128}, render_observations=False)
    env.disturb(camera_offset=offset, light=1.0)
    env.reset(seed=3)
    model = env._simulator.model
    with_puck = env.render().astype(int)
    model.geom_rgba[model.body("obj").geomadr[0], 3] = 0.0
    changed = np.abs(env.render() - with_puck).sum(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert len(rows) >= 4
    x, y, distance = env.landmarks()[METAWORLD.landmarks.index("object")]
    assert x == pytest.approx(2 * (columns.mean() + 0.5) / 128 - 1, abs=2.5 / 64)
    assert y == pytest.approx(2 * (rows.mean() + 0.5) / 128 - 1, abs=2.5 / 64)
    eye, puck = env._simulator.data.camera(CAMERA).xpos, env._simulator.data.body("obj").xpos
    assert 0.8 * np.linalg.norm(puck - eye) < distance <= np.linalg.norm(puck - eye)
    env.close()


def test_the_work_area_is_the_inner_part_of_the_whole_picture(opengl: None) -> None:
    pictures = []
    for camera, size in ((CAMERA, 400), ("work_area", 260)):  # 65 % of the width
        env = MetaWorldEnv("drawer-open", cameras={camera: size})
        pictures.append(env.reset(seed=1)[0]["image"][camera].astype(float))
        env.close()
    whole, part = pictures
    # Its edges, counted from the picture's left and top, in halves: -0.4 to 0.9 and -0.5 to 0.8.
    cut = whole[100:360, 120:380]
    assert np.abs(cut - part).mean() < 4
    assert np.abs(whole[90:350, 120:380] - part).mean() > 6


def test_a_task_with_one_object_has_it_twice() -> None:
    for task, same in (("reach", True), ("stick-push", False)):
        env = blind(task)
        env.reset(seed=0)
        _, first, second, _ = env.landmarks()
        assert np.array_equal(first, second) == same


def test_disturbances_change_the_picture_and_nothing_else(opengl: None) -> None:
    plain = MetaWorldEnv("push")
    seen = plain.reset(seed=5)[0]
    picture = seen["image"][CAMERA].astype(int)
    for disturbance in ({"camera_offset": 0.02}, {"light": 0.6}):
        env = MetaWorldEnv("push", **disturbance)
        other = env.reset(seed=5)[0]
        assert same(inside(env), inside(plain))
        assert np.abs(other["image"][CAMERA] - picture).mean() > 2
        if "light" in disturbance:
            assert other["image"][CAMERA].mean() < 0.85 * picture.mean()
        env.disturb(camera_offset=0.0, light=1.0)
        assert np.array_equal(env.reset(seed=5)[0]["image"][CAMERA], picture)
        env.close()
    plain.close()


def test_unknown_camera() -> None:
    with pytest.raises(InputError, match="work_area"):
        MetaWorldEnv("reach", cameras={"work-area": 96})
