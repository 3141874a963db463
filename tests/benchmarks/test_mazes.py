"""The page of mazes: its figures follow from the episodes, and its rules do what they say."""

import numpy as np
import torch

from benchmarks import mazes
from benchmarks.mazes import WORLDS, along_the_wall, straight
from eyehand.envs.mazes import RAYS, Mazes, MazesConfig
from eyehand.rl.experience import measure


def test_successes_and_ways_are_counted() -> None:
    episodes = [{"success": float(n < 80), "spl": 0.5 * (n < 80)} for n in range(100)]
    found = {"straight to the goal": dict.fromkeys(WORLDS, episodes)}
    text = mazes.page(found, "- learnt: in 10 minutes")
    assert "| straight to the goal |" + len(WORLDS) * " 80 (71 to 87), 0.40 |" in text
    assert "- learnt: in 10 minutes" in text


def test_straight_turns_to_the_goal_and_then_drives() -> None:
    seen = torch.zeros(3, RAYS + 10)
    for row, aside in enumerate((0.0, 1.0, -2.5)):
        seen[row, RAYS + 1], seen[row, RAYS + 2] = np.cos(aside), np.sin(aside)
    action = straight(seen)
    torch.testing.assert_close(action[:, 1], torch.tensor([0.0, 1.0, -1.0]))
    assert action[0, 0] == 1
    assert action[2, 0] == 0


def test_the_right_hand_rule_leads_through_mazes_without_round_trips() -> None:
    world = Mazes(MazesConfig(cells=(3, 3), loops=0), 6)
    found = measure(along_the_wall, world, range(6))
    assert np.mean([one["success"] for one in found]) >= 5 / 6
