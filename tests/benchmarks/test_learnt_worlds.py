"""What is learnt and measured is kept, and measured again where the worlds are others."""

from pathlib import Path
from unittest.mock import Mock

import torch

from benchmarks.learnt_worlds import learnt, measured, successes, what_learnt
from eyehand.envs.mazes import Mazes, MazesConfig
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import EnvironmentRun

WORLD = MazesConfig(cells=(2, 2), seconds=1.0)


def test_a_policy_learns_once_and_its_line_says_how_long(tmp_path: Path) -> None:
    run = EnvironmentRun(environment="mazes", steps=32, environments=2, episodes=2)
    config = PPOConfig(steps=8, epochs=1, minibatch=8, dims=(4,))
    folder = learnt("small, new", run, config, WORLD, out=tmp_path)
    before = (folder / "results.json").stat().st_mtime_ns
    assert learnt("small, new", run, config, WORLD, out=tmp_path) == folder
    assert (folder / "results.json").stat().st_mtime_ns == before
    line = what_learnt({"small, new": folder})
    assert line.startswith("- small, new: 32 steps in 0 minutes on one core, at commit `")


def test_episodes_are_kept_until_the_worlds_change(tmp_path: Path) -> None:
    act = Mock(side_effect=lambda seen: torch.zeros(len(seen), 2))

    def found(world: MazesConfig) -> object:
        told = {"seeds": range(3), "out": tmp_path}
        return measured("still", act, {"small": world}, Mazes, **told)

    first = found(WORLD)
    calls = act.call_count
    assert found(WORLD) == first
    assert act.call_count == calls
    found(MazesConfig(cells=(3, 3), seconds=1.0))
    assert act.call_count > calls


def test_successes_come_with_wilsons_interval() -> None:
    assert successes([{"success": float(n < 90)} for n in range(100)]) == "90 (83 to 94)"
