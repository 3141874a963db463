"""A legged robot on uneven ground: what it stands on, feels, is paid for, and how it is judged."""

import mujoco
import numpy as np
import pytest
import torch

from eyehand.envs.rough_ground import LEG, SPACING, RoughGround, RoughGroundConfig
from eyehand.functional.height_field import roughness_of
from eyehand.types import InputError

STILL = torch.zeros(1, 8)
FLAT = RoughGroundConfig(roughness=0.0, seconds=1.0)


def test_the_ground_is_as_rough_as_asked_and_what_is_felt_is_where_physics_has_it() -> None:
    world = RoughGround(RoughGroundConfig(roughness=0.3), 1)
    seen = world.begin(0, 7)
    for _ in range(30):
        seen = world.step(STILL)[0][0]
    model, data = world.picture(0)
    heights = model.hfield_data.reshape(200, 200) * model.hfield_size[0, 2]
    assert roughness_of(heights, spacing=SPACING) == pytest.approx(0.3 * LEG, rel=1e-3)
    torso = data.qpos[:3]
    turn = 2 * np.arctan2(data.qpos[6], data.qpos[3])  # about upright
    compared = 0
    for ahead, left, felt in ((-0.8, -0.8, 0), (0.8, 0.0, 14), (0.0, 0.0, 12)):
        x = torso[0] + np.cos(turn) * ahead - np.sin(turn) * left
        y = torso[1] + np.sin(turn) * ahead + np.cos(turn) * left
        hit = np.zeros(1, np.int32)
        down = mujoco.mj_ray(
            model, data, np.array([x, y, 9.0]), np.array([0.0, 0, -1]),
            np.array([1, 0, 0, 0, 0, 0], np.uint8), 1, -1, hit,
        )  # fmt: skip
        if model.geom(hit[0]).name == "floor":
            compared += 1
            assert torso[2] - (9.0 - down) == pytest.approx(seen[-25 + felt], abs=0.03)

    assert compared >= 2
    down = mujoco.mj_ray(
        model, data, np.array([8.0, -8.0, 9.0]), np.array([0.0, 0, -1]),
        np.array([1, 0, 0, 0, 0, 0], np.uint8), 1, -1, np.zeros(1, np.int32),
    )  # fmt: skip
    felt = world._heights(0, np.array([8.0]), np.array([-8.0]))
    assert felt[0] == pytest.approx(9.0 - down, abs=0.002)


def test_standing_still_is_safe_but_goes_nowhere() -> None:
    world = RoughGround(FLAT, 2)
    for which in range(2):
        world.begin(which, which)
    for step in range(25):
        _, reward, terminated, truncated = world.step(STILL.expand(2, 8))
        assert not terminated.any()
        assert truncated.all() == (step == 24)
    assert (reward < 1).all()
    for which in range(2):
        assert world.outcome(which)["success"] == 0
        assert abs(world.outcome(which)["share"]) < 0.2


def test_a_robot_at_the_wanted_velocity_earns_most_and_arrives() -> None:
    world = RoughGround(FLAT, 1)
    world.begin(0, 3)
    held = world._held
    wanted = held["wanted"][0]
    held["length"][0] = world.steps
    for share, success in ((0.71, 1.0), (0.69, 0.0)):
        held["physics"][0, 1:3] = share * wanted * FLAT.seconds
        found = world.outcome(0)
        assert found["share"] == pytest.approx(share)
        assert found["success"] == success
    held["physics"][0, 16:22] = 0
    held["physics"][0, 16:18] = wanted
    assert world._reward(np.zeros(1, bool))[0] == pytest.approx(1.5)
    assert world._reward(np.ones(1, bool))[0] == pytest.approx(-3.5)
    held["physics"][0, 1:3] = wanted * FLAT.seconds
    assert world.outcome(0)["success"] == 1
    held["fallen"][0] = True
    assert world.outcome(0)["success"] == 0


def test_a_robot_on_its_back_has_fallen() -> None:
    world = RoughGround(FLAT, 1)
    world.begin(0, 0)
    held = world._held
    held["physics"][0, 3:8] = 1.5, 0, 1, 0, 0
    held["length"][0] = world.steps - 1
    terminated, truncated = world.step(STILL)[2:]
    assert terminated[0]
    assert not truncated[0]
    held["physics"][0, 1:3] = held["wanted"][0] * FLAT.seconds
    assert world.outcome(0)["success"] == 0


def test_a_torso_on_the_ground_ends_the_episode() -> None:
    world = RoughGround(FLAT, 1)
    world.begin(0, 0)
    world._held["physics"][0, 3] = 0.26  # the sphere has a radius of 0.25
    for _ in range(10):
        terminated = world.step(STILL)[2]
        if terminated[0]:
            break
    assert terminated[0]
    assert world._held["fallen"][0]


def test_the_wanted_velocity_is_felt_in_the_robots_own_frame() -> None:
    world = RoughGround(FLAT, 1)
    seen = world.begin(0, 11)
    ahead, left = seen[-27:-25] / 2
    world._held["physics"][0, 4:8] = np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)  # faces left: +y
    turned = world._feel(slice(0, 1))[0][-27:-25] / 2
    np.testing.assert_allclose(turned, [world._held["wanted"][0, 1], -world._held["wanted"][0, 0]])
    assert np.hypot(ahead, left) == pytest.approx(np.hypot(*turned))


def test_robots_differ_only_where_that_is_asked() -> None:
    plain, varied = (
        RoughGround(RoughGroundConfig(randomize=randomize), 4) for randomize in (False, True)
    )
    for world in (plain, varied):
        for which in range(4):
            world.begin(which, which)
    assert len({model.body_mass.sum() for model in plain._models}) == 1
    masses = [model.body_mass.sum() / plain._base.body_mass.sum() for model in varied._models]
    assert len(set(masses)) == 4
    assert all(0.8 <= mass <= 1.3 for mass in masses)
    assert set(varied._held["delay"]) == {0, 1}
    assert len({float(model.geom_friction[0, 0]) for model in varied._models}) == 4
    for model, mass in zip(varied._models, masses, strict=True):
        strength = model.actuator_gainprm[0, 0] / 100
        assert 0.7 <= strength <= 1.2
        np.testing.assert_allclose(model.actuator_biasprm[:, 1], -100 * strength)
        np.testing.assert_allclose(model.actuator_forcerange[:, 1], 50 * strength)
        # What contacts and limits are computed with follows the mass.
        assert model.body_subtreemass[0] == pytest.approx(mass * plain._base.body_subtreemass[0])
        assert not np.allclose(model.dof_invweight0, plain._base.dof_invweight0)
    assert set(plain._held["delay"]) == {0}
    assert plain._models[0].actuator_gainprm[0, 0] == 100


def test_a_late_motor_does_what_was_asked_before() -> None:
    moved = {}
    for delay in (0, 2):
        config = RoughGroundConfig(
            roughness=0.0, randomize=True, delay=(delay, delay),
            friction=(1.0, 1.0), mass=(1.0, 1.0), strength=(1.0, 1.0),
        )  # fmt: skip
        world = RoughGround(config, 1)
        world.begin(0, 0)
        seen = [world.step(torch.ones(1, 8))[0][0, 10:18] for _ in range(6)]
        moved[delay] = np.array(seen)
    assert np.abs(moved[0][0]).max() > 0.2
    assert np.abs(moved[2][1]).max() < 0.15  # nothing asked yet but to stand
    assert np.abs(moved[2][4]).max() > 0.2


def test_the_ground_becomes_rougher_after_good_episodes_and_smoother_after_bad_ones() -> None:
    world = RoughGround(FLAT, 1, learning=True)
    levels = []
    for share in (1.0, 1.0, 0.5, 0.1, 0.1, 0.1):
        world.begin(0, len(levels))
        world._held["physics"][0, 1:3] = share * world._held["wanted"][0] * FLAT.seconds
        levels.append(round(float(world._held["level"][0]), 6))
    world.begin(0, 9)
    assert [*levels, float(world._held["level"][0])] == [0.0, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0]
    assert RoughGround(FLAT, 1)._held["level"][0] == 1


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match=r"RoughGroundConfig\.roughness"):
        RoughGroundConfig(roughness=-0.1)
    with pytest.raises(InputError, match=r"speed must be the lowest, then the highest; got 0\.8"):
        RoughGroundConfig(speed=(0.8, 0.3))
    with pytest.raises(InputError, match="must be at most 10 m, where the ground ends; got 16"):
        RoughGroundConfig(speed=(0.5, 0.8), seconds=20.0)
