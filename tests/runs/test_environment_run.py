"""A run in a Gymnasium environment: learnt, measured, resumed, and refused in a sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from eyehand.checksums import write_json
from eyehand.envs.mazes import MazesConfig
from eyehand.rl.ddpg import DDPGConfig
from eyehand.rl.experience import measure
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import (
    MEASURED_FROM,
    EnvironmentRun,
    learn_environment,
    load_environment_policy,
    make_environments,
)
from eyehand.types import InputError

SMALL = EnvironmentRun(environment="CartPole-v1", steps=256, environments=2, episodes=3)
PPO = PPOConfig(steps=32, epochs=2, minibatch=16)


def learn(out: Path, run: EnvironmentRun = SMALL, *, resume: bool = False) -> dict[str, Any]:
    return learn_environment("ppo", run, PPO, out, resume=resume, threads=None)


def test_results_say_what_was_measured(tmp_path: Path) -> None:
    found = learn(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found
    low, high = found["return"]["interval"]
    returns = [one["return"] for one in found["episodes"]]
    assert len(returns) == 3
    assert low <= found["return"]["mean"] <= high
    assert found["return"]["mean"] == pytest.approx(np.mean(returns))
    assert found["environment_steps"] == 256


def test_a_run_goes_on_to_more_steps(tmp_path: Path) -> None:
    learn(tmp_path / "run", replace(SMALL, steps=128))
    assert learn(tmp_path / "run", resume=True)["environment_steps"] == 256
    other = replace(SMALL, environment="Acrobot-v1")
    with pytest.raises(InputError, match="environment"):
        learn(tmp_path / "run", other, resume=True)


def test_a_world_is_learnt_and_its_policy_comes_back(tmp_path: Path) -> None:
    world = MazesConfig(cells=(2, 2), seconds=1.0)
    run = EnvironmentRun(environment="mazes", steps=32, environments=2, episodes=2)
    config = PPOConfig(steps=8, epochs=1, minibatch=8, dims=(4,))
    told = {"world": world, "resume": False, "threads": None}
    found = learn_environment("ppo", run, config, tmp_path / "run", **told)
    assert {"return", "success", "spl"} <= set(found)
    act = load_environment_policy(tmp_path / "run")
    seeds = range(MEASURED_FROM, MEASURED_FROM + 2)
    assert measure(act, make_environments("mazes", 2, world), seeds) == found["episodes"]
    told |= {"world": replace(world, loops=0), "resume": True}
    with pytest.raises(InputError, match="world"):
        learn_environment("ppo", replace(run, steps=64), config, tmp_path / "run", **told)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    learn(tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    described = json.loads(config.read_text())
    for changed, sentence in (
        ({"policy": {}}, "holds no run of an algorithm"),
        ({**described, "environment": None}, "does not describe a run that can be built"),
        (
            {**described, "algorithm": {**described["algorithm"], "dims": [5]}},
            "does not describe a run that can be built",
        ),
        (
            {**described, "algorithm": {**described["algorithm"], "colour": 1}},
            "does not describe a run that can be built",
        ),
    ):
        changed.pop("checksum", None)
        write_json(config, changed)
        with pytest.raises(InputError, match=sentence):
            load_environment_policy(tmp_path / "run")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'CartPol-v1' cannot be made"):
        learn(tmp_path, EnvironmentRun(environment="CartPol-v1"))
    with pytest.raises(InputError, match="DDPG needs actions that are numbers"):
        learn_environment("ddpg", SMALL, DDPGConfig(), tmp_path, resume=False, threads=None)


class NoReward(gymnasium.Env[np.ndarray, Any]):
    """Its reward is no number."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), float("nan"), False, False, {}


def test_a_reward_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    gymnasium.register("NoReward-v0", lambda: NoReward(), disable_env_checker=True)
    with pytest.raises(InputError, match="reward was nan in step 1 of an episode"):
        learn(tmp_path / "run", EnvironmentRun(environment="NoReward-v0", steps=64))
