"""The two ways must be equally good, equally likely, unseen, and deadly on average."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from eyehand.envs.check import check_env
from eyehand.envs.two_ways import (
    ACTION_DIM,
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
    demonstration,
    roll_out,
)
from eyehand.types import Batch, Episode, InputError, Observation

UP = np.array([0, 1, 0], np.float32)
STILL = np.zeros(ACTION_DIM, np.float32)


def begun(seed: int, *, side: int | None = None, image_size: int = 8) -> TwoWaysEnv:
    env = TwoWaysEnv(image_size=image_size)
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


def same(one: Episode, two: Episode) -> bool:
    pairs = [(one.image[CAMERA], two.image[CAMERA]), (one.action, two.action)]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_passes_the_battery() -> None:
    env = TwoWaysEnv(image_size=32)
    check_env(env, solve=env.expert_action)


def test_expert_arrives_with_room_to_spare_on_either_side() -> None:
    sides = []
    for seed in range(200):
        env, before, steps, over = begun(seed), None, 0, False
        while not over:
            action = env.expert_action()
            assert np.hypot(*action[:2]) <= 1 + 1e-6
            assert action[2] == 0
            if before is not None:  # smooth: a turn of less than 25 degrees a step at full speed
                assert np.hypot(*(action - before)[:2]) < 2 * np.sin(np.radians(12.5))
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
    assert 0.4 < np.mean(np.array(sides) == 1) < 0.6


def test_expert_returns_to_its_way() -> None:
    env = begun(3, side=-1)
    for _ in range(3):
        env.step(np.array([1, 0, 0], np.float32))
    while not env.step(env.expert_action())[2]:
        pass
    assert np.hypot(*(env.robot - env.goal)) < GOAL_RADIUS


def test_seed_alone_decides() -> None:
    first = demonstration(4, image_size=16)
    assert same(first, demonstration(4, image_size=16))
    assert not same(first, demonstration(5, image_size=16))
    env = begun(9, image_size=16)
    env.step(UP)
    observation, _ = env.reset(seed=4)
    np.testing.assert_array_equal(observation["image"][CAMERA], first.image[CAMERA][0])
    np.testing.assert_array_equal(observation["state"], first.state[0])
    assert env.side == begun(4).side


def test_reset_without_seed_draws_one() -> None:
    env = begun(0)
    unseeded = [env.reset()[0]["state"] for _ in range(2)]
    assert not np.array_equal(*unseeded)
    env.reset(seed=0)  # Gymnasium: the chance that follows a seed is that seed's
    np.testing.assert_array_equal(unseeded[0], env.reset()[0]["state"])


def test_first_observation_does_not_tell_the_side() -> None:
    left, right = (begun(6, side=side, image_size=32) for side in (-1, 1))
    one, two = left._observation(), right._observation()  # what `reset` returns
    np.testing.assert_array_equal(one["image"][CAMERA], two["image"][CAMERA])
    np.testing.assert_array_equal(one["state"], two["state"])
    assert one["instruction"] == two["instruction"] == INSTRUCTIONS.canonical
    assert left.expert_action()[0] < -0.3 < 0.3 < right.expert_action()[0]
    for sentence in (INSTRUCTIONS.canonical, *INSTRUCTIONS.training, *INSTRUCTIONS.held_out):
        assert not {"left", "right"} & set(sentence.lower().split())


def test_side_is_drawn_apart_from_all_places() -> None:
    env, rows = TwoWaysEnv(image_size=1), []
    for seed in range(1000):
        env.reset(seed=seed)
        rows.append([env.side, *env.start, *env.goal, *(env.obstacle - env.start)])
    correlation = np.corrcoef(np.array(rows).T)[0, 1:]
    assert np.abs(correlation).max() < 0.1  # three standard errors of 1,000


@pytest.mark.parametrize("seed", range(20))
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


class Replay:
    """Plans, for each robot, what it was given."""

    def __init__(self, plans: Sequence[np.ndarray]) -> None:
        self.plans, self.horizon, self.steps = plans, 8, 5
        self.at: dict[int, int] = {}
        self.seen: list[Observation] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def reset(self, env_ids: Sequence[int]) -> None:
        self.at = dict.fromkeys(env_ids, 0)

    def act(self, observation: Observation) -> Tensor:
        self.seen.append(observation)
        chunks = torch.zeros(len(observation.env_ids), self.horizon, ACTION_DIM)
        for chunk, index in zip(chunks, observation.env_ids, strict=True):
            part = self.plans[index][self.at[index] :][: self.horizon]
            chunk[: len(part)] = torch.from_numpy(part)
            self.at[index] += self.steps
        return chunks


def test_roll_out() -> None:
    seeds = [7, 8, 9, 7]
    left, right, other = expert_plan(7, -1), expert_plan(7, 1), expert_plan(9, 1)
    policy = Replay([left, np.stack([UP] * 30), other, right])
    drives = roll_out(policy, seeds, steps=5, image_size=16)
    assert [drive.seed for drive in drives] == seeds
    assert [drive.success for drive in drives] == [True, False, True, True]
    assert [drive.hit for drive in drives] == [False, True, False, False]
    assert len(drives[0].path) == len(left) + 1
    env = begun(7)
    for place, action in zip(drives[3].path[:-1], right, strict=True):
        np.testing.assert_array_equal(place, env.robot)
        env.step(action)
    np.testing.assert_array_equal(drives[3].path[-1], env.robot)
    assert drives[0].path[10, 0] < -0.3 < 0.3 < drives[3].path[10, 0]

    first, last = policy.seen[0], policy.seen[-1]
    assert list(first.env_ids) == [0, 1, 2, 3]
    assert list(last.env_ids) == [0, 2, 3]  # the second hit the obstacle
    assert first.instruction == ["Go to the green disc"] * 4
    for row, seed in enumerate(seeds):
        seen, _ = TwoWaysEnv(image_size=16).reset(seed=seed)
        np.testing.assert_array_equal(first.image[CAMERA][row], seen["image"][CAMERA])
        np.testing.assert_array_equal(first.state[row], seen["state"])
    np.testing.assert_allclose(policy.seen[1].state[0], drives[0].path[5], atol=1e-6)


def test_roll_out_runs_out_of_time_and_of_seeds() -> None:
    (drive,) = roll_out(Replay([np.stack([STILL])]), [0], steps=8, image_size=8)
    assert (drive.success, drive.hit, len(drive.path)) == (False, False, MAX_STEPS + 1)
    assert roll_out(Replay([]), []) == []


def test_roll_out_refuses_what_it_cannot_execute() -> None:
    plan = np.stack([UP])
    with pytest.raises(InputError, match=r"at least 1\. Got 0"):
        roll_out(Replay([plan]), [0], steps=0)
    with pytest.raises(InputError, match="plans 8 actions; `steps` is 9"):
        roll_out(Replay([plan]), [0], steps=9, image_size=8)
    with pytest.raises(InputError, match=r"finite numbers.*nan"):
        roll_out(Replay([plan * np.nan]), [0], image_size=8)


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
        env.step(np.array([-1, -1, 0], np.float32))
    assert env.robot.tolist() == [-1, -1]
    np.testing.assert_array_equal(env.render()[-1, 0], ROBOT)


def test_actions_are_clipped_and_the_third_does_nothing() -> None:
    places = []
    for action in ([5, -7, 3], [1, -1, 0], [1, -1, -1]):
        env = begun(0)
        env.step(np.array(action, np.float32))
        places.append(env.robot)
    np.testing.assert_array_equal(places[0], places[1])
    np.testing.assert_array_equal(places[1], places[2])
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
    env = TwoWaysEnv(image_size=8)
    with pytest.raises(RuntimeError, match="call `reset`"):
        env.step(STILL)
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"3 numbers. Got the shape \(4,\)"):
        env.step(np.zeros(4, np.float32))
    with pytest.raises(InputError, match=r"finite numbers.*nan"):
        env.step(np.array([0, np.nan, 0], np.float32))


def test_demonstration_is_what_was_seen_and_done() -> None:
    episode = demonstration(11, image_size=16)
    env = TwoWaysEnv(image_size=16)
    observation, _ = env.reset(seed=11)
    assert (episode.instruction, episode.task, episode.seed) == (env.instruction, "two-ways", 11)
    for frame, action in enumerate(episode.action):
        np.testing.assert_array_equal(episode.image[CAMERA][frame], observation["image"][CAMERA])
        np.testing.assert_array_equal(episode.state[frame], observation["state"])
        observation, _, terminated, _, info = env.step(action)
    assert (terminated, info["success"]) == (True, True)
