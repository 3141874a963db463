"""A robot in mazes: what it feels, where it can go, what it is paid for, and how it is judged."""

import math

import numpy as np
import pytest
import torch

from eyehand.envs.mazes import FAR, NEAR, RADIUS, RAYS, SPEED, TIMESTEP, Mazes, MazesConfig
from eyehand.functional.maze import POINTS, read_at
from eyehand.types import InputError

SMALL = MazesConfig(cells=(3, 3), seconds=20.0)


def test_distances_end_at_walls() -> None:
    world = Mazes(SMALL, 2)
    for which in range(2):
        seen = world.begin(which, which + 4)
        place, heading = world._held["place"][which], world._held["heading"][which]
        for ray in range(RAYS):
            way = heading + 2 * math.pi * ray / RAYS
            direction = np.array([math.cos(way), math.sin(way)])
            steps = np.arange(0, FAR, 0.005)
            clear = read_at(world._clear[which : which + 1], np.array([0]),
                            (place + steps[:, None] * direction)[None])[0]  # fmt: skip
            walls = steps[clear <= 0.02]
            far = walls[0] if len(walls) else FAR
            assert seen[ray] * FAR == pytest.approx(far, abs=0.1)


def test_beside_a_wall_distances_along_it_are_whole() -> None:
    world = Mazes(MazesConfig(cells=(5, 5)), 1)
    world.begin(0, 0)
    held = world._held
    world._clear[:] = 0.0
    world._clear[0, 3:] = np.arange(len(world._clear[0]) - 3)[:, None] / POINTS  # a wall below
    held["place"][0], held["heading"][0] = (1.0, 0.3 + RADIUS), 0.0
    assert world._feel(slice(0, 1))[0, 0] == 1.0  # nothing ahead for three metres


def test_the_robot_slides_along_a_wall() -> None:
    world = Mazes(SMALL, 1)
    world.begin(0, 0)
    held = world._held
    world._clear[:] = 9.0
    world._clear[0, :, 20:] = 0.0
    held["place"][0], held["heading"][0] = (1.95, 1.0), math.pi / 4
    world.step(torch.tensor([[1.0, 0.0]]))
    assert held["place"][0, 0] == 1.95
    assert held["place"][0, 1] == pytest.approx(1.0 + SPEED * TIMESTEP * math.sin(math.pi / 4))


def test_walls_stop_the_robot() -> None:
    world = Mazes(SMALL, 1)
    world.begin(0, 0)
    held = world._held
    for turned in np.linspace(0, 2 * math.pi, 7):
        held["heading"][0] = turned
        for _ in range(15):
            world.step(torch.tensor([[1.0, 0.0]]))
            inside = read_at(world._clear, np.array([0]), held["place"])
            assert inside[0] >= RADIUS
            assert held["driven"][0] <= held["length"][0] * SPEED * TIMESTEP + 1e-9


def test_rewards_add_up_to_the_way_that_is_done() -> None:
    world = Mazes(SMALL, 1)
    world.begin(0, 3)
    random = np.random.default_rng(0)
    first, total = world._held["shortest"][0], 0.0
    for _ in range(50):
        _, reward, arrived, _ = world.step(torch.from_numpy(random.uniform(-1, 1, (1, 2))))
        total += float(reward[0])
        assert not arrived[0]
    assert total == pytest.approx(first - world._left(slice(None))[0] - 0.5, abs=1e-4)


def test_at_the_goal_the_episode_ends_and_its_score_is_the_length_of_the_way() -> None:
    world = Mazes(SMALL, 1)
    world.begin(0, 3)
    held = world._held
    assert world.outcome(0) == {"success": 0.0, "spl": 0.0}
    held["place"][0] = held["goal"][0]
    held["driven"][0] = 2 * (held["shortest"][0] - NEAR)
    _, reward, arrived, truncated = world.step(torch.zeros(1, 2))
    assert arrived[0]
    assert not truncated[0]
    assert reward[0] > 2
    assert world.outcome(0) == {"success": 1.0, "spl": pytest.approx(0.5)}


def test_the_robot_feels_where_the_goal_is_and_where_it_has_been() -> None:
    world = Mazes(SMALL, 1)
    world.begin(0, 1)
    held = world._held
    held["heading"][0] = 0.0
    distance, ahead, left = world._feel(slice(0, 1))[0, RAYS : RAYS + 3]
    aside = held["goal"][0] - held["place"][0]
    np.testing.assert_allclose(5 * distance * np.array([ahead, left]), aside, atol=1e-5)
    been = slice(RAYS + 3, RAYS + 8)
    assert (world._feel(slice(0, 1))[0, been] == 0).all()
    for _ in range(5):
        seen = world.step(torch.zeros(1, 2))[0]
    assert seen[0, been][0] == pytest.approx(math.tanh(0.1))
    assert (seen[0, been][1:] == 0).all()
    without = Mazes(MazesConfig(cells=(3, 3), trail=False), 1)
    without.begin(0, 1)
    assert (without.step(torch.zeros(1, 2))[0][0, been] == 0).all()


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match=r"MazesConfig\.cells"):
        MazesConfig(cells=(1, 3))
    with pytest.raises(InputError, match="the smallest, then the largest; got 6, 3"):
        MazesConfig(cells=(6, 3))
