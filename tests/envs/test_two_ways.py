"""The two ways must be equally good, equally likely, unseen, and deadly on average."""

import numpy as np
import pytest

from eyehand.envs.check import check_robot_env
from eyehand.envs.two_ways import (
    CAMERA,
    FLOOR,
    GOAL,
    GOAL_RADIUS,
    INSTRUCTIONS,
    MAX_STEPS,
    OBSTACLE,
    OBSTACLE_RADIUS,
    ROBOT,
    ROBOT_RADIUS,
    SPEED,
    TwoWaysEnv,
    _draw_disc,
)
from eyehand.types import InputError

UP = np.array([0, 1], np.float32)
STILL = np.zeros(2, np.float32)


def begun(seed: int, *, side: int | None = None, image_size: int = 8) -> TwoWaysEnv:
    env = TwoWaysEnv(cameras={"top": image_size})
    env.reset(seed=seed)
    env.side = env.side if side is None else side
    return env


def expert_plan(seed: int, side: int) -> np.ndarray:
    env, plan, over = begun(seed, side=side), [], False
    while not over:
        plan.append(env.expert_action())
        _, _, over, _, info = env.step(plan[-1])
    assert info["success"]
    return np.stack(plan)


def test_passes_the_battery() -> None:
    env = TwoWaysEnv(cameras={"top": 32})
    check_robot_env(env, solve=env.expert_action, max_steps=MAX_STEPS)


def test_expert_arrives_with_room_to_spare_on_either_side() -> None:
    sides = []
    for seed in range(60):
        env, before, steps, over = begun(seed), None, 0, False
        while not over:
            action = env.expert_action()
            assert np.hypot(*action) <= 1 + 1e-6
            if before is not None:  # smooth: a turn of less than 25 degrees a step at full speed
                assert np.hypot(*(action - before)) < 2 * np.sin(np.radians(12.5))
            before = action
            _, reward, over, _, info = env.step(action)
            steps += 1
            room = np.hypot(*(env.robot - env.obstacle)) - ROBOT_RADIUS - OBSTACLE_RADIUS
            assert room > 0.08
            if abs(env.robot[1] - env.obstacle[1]) < SPEED:
                assert np.sign(env.robot[0] - env.obstacle[0]) == env.side
        assert (info, reward) == ({"success": True, "hit": False}, 1.0)
        assert steps < MAX_STEPS / 2
        sides.append(env.side)
    assert 0.3 < np.mean(np.array(sides) == 1) < 0.7


def test_expert_returns_to_its_way() -> None:
    env = begun(3, side=-1)
    for _ in range(3):
        env.step(np.array([1, 0], np.float32))
    while not env.step(env.expert_action())[2]:
        pass
    assert np.hypot(*(env.robot - env.goal)) < GOAL_RADIUS


def test_reset_without_seed_draws_one() -> None:
    env = begun(0)
    unseeded = [env.reset()[0]["state"] for _ in range(2)]
    assert not np.array_equal(*unseeded)
    env.reset(seed=0)  # Gymnasium: the chance that follows a seed is that seed's
    np.testing.assert_array_equal(unseeded[0], env.reset()[0]["state"])


def test_first_observation_does_not_tell_the_side() -> None:
    left, right = (begun(6, side=side, image_size=32) for side in (-1, 1))
    one, two = left.observation(left.robot), right.observation(right.robot)  # what `reset` returns
    np.testing.assert_array_equal(one["image"][CAMERA], two["image"][CAMERA])
    np.testing.assert_array_equal(one["state"], two["state"])
    assert one["instruction"] == two["instruction"] == INSTRUCTIONS.canonical
    assert left.expert_action()[0] < -0.3 < 0.3 < right.expert_action()[0]
    for sentence in (INSTRUCTIONS.canonical, *INSTRUCTIONS.training, *INSTRUCTIONS.held_out):
        assert not {"left", "right"} & set(sentence.lower().split())


def test_side_is_drawn_apart_from_all_places() -> None:
    env, rows = TwoWaysEnv(cameras={"top": 1}), []
    for seed in range(1000):
        env.reset(seed=seed)
        rows.append([env.side, *env.start, *env.goal, *(env.obstacle - env.start)])
    correlation = np.corrcoef(np.array(rows).T)[0, 1:]
    assert np.abs(correlation).max() < 0.1  # three standard errors of 1,000


@pytest.mark.parametrize("seed", range(4))
def test_mean_of_the_two_ways_hits(seed: int) -> None:
    """The point of the task: replayed whole, or averaged anew wherever it leads."""
    left, right = (expert_plan(seed, side) for side in (-1, 1))
    length = min(len(left), len(right))
    env = begun(seed)
    for action in (left[:length] + right[:length]) / 2:
        _, *end = env.step(action)
        if end[1]:
            break
    assert end == [0.0, True, False, {"success": False, "hit": True}]
    env, over = begun(seed), False
    while not over:
        ways = []
        for env.side in (-1, 1):
            ways.append(env.expert_action())
        _, _, over, _, info = env.step(np.mean(ways, axis=0))
    assert info == {"success": False, "hit": True}
    with pytest.raises(RuntimeError, match="'two-ways' is over"):
        env.step(STILL)


@pytest.mark.parametrize("size", [32, 96])
def test_discs_are_drawn_in_their_colours_where_they_are(size: int) -> None:
    env = begun(2, image_size=size)
    picture = env.render()
    for (x, y), colour in ((env.robot, ROBOT), (env.obstacle, OBSTACLE), (env.goal, GOAL)):
        row, column = int((1 - y) / 2 * size), int((1 + x) / 2 * size)
        np.testing.assert_array_equal(picture[row, column], colour)
    np.testing.assert_array_equal(picture[0, 0], FLOOR)
    colours = np.stack([ROBOT, OBSTACLE, GOAL, FLOOR])
    distances = np.abs(colours[:, None] - colours).max(axis=-1)
    assert distances[~np.eye(4, dtype=bool)].min() > 60


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.013, -0.4), (-0.77, 0.771)])
def test_disc_has_its_area_and_its_middle_between_pixels(x: float, y: float) -> None:
    size, radius = 96, 0.06
    picture = np.zeros((size, size, 3), np.float32)
    _draw_disc(picture, np.array([x, y]), radius, np.ones(3, np.float32))
    cover = picture[..., 0]
    places = (np.arange(size) + 0.5) / size * 2 - 1
    assert cover.sum() * (2 / size) ** 2 == pytest.approx(np.pi * radius**2, rel=0.02)
    assert cover.sum(axis=0) @ places / cover.sum() == pytest.approx(x, abs=0.001)
    assert -cover.sum(axis=1) @ places / cover.sum() == pytest.approx(y, abs=0.001)


def test_edges_stop_the_robot_and_cut_its_disc() -> None:
    env = begun(0, image_size=96)
    for _ in range(20):
        env.step(np.array([-1, -1], np.float32))
    assert env.robot.tolist() == [-1, -1]
    np.testing.assert_array_equal(env.render()[-1, 0], ROBOT)


def test_actions_are_clipped() -> None:
    places = []
    for action in ([5, -7], [1, -1]):
        env = begun(0)
        env.step(np.array(action, np.float32))
        places.append(env.robot)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_allclose(places[0] - env.start, [SPEED, -SPEED])


def test_time_limit() -> None:
    env = begun(0)
    ends = [env.step(STILL)[2:] for _ in range(MAX_STEPS)]
    nothing = {"success": False, "hit": False}
    assert ends == [(False, False, nothing)] * (MAX_STEPS - 1) + [(False, True, nothing)]
    with pytest.raises(RuntimeError, match="is over"):
        env.expert_action()
    env, plan = begun(0), expert_plan(0, 1)
    for action in [STILL] * (MAX_STEPS - len(plan)) + list(plan):
        end = env.step(action)[2:4]
    assert end == (True, False)  # arrived with the last action


def test_refuses_bad_actions() -> None:
    env = TwoWaysEnv(cameras={"top": 8})
    with pytest.raises(RuntimeError, match="call `reset`"):
        env.step(STILL)
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"2 numbers. Got an array of shape \(4,\)"):
        env.step(np.zeros(4, np.float32))
    with pytest.raises(InputError, match=r"finite numbers.*nan"):
        env.step(np.array([0, np.nan], np.float32))
