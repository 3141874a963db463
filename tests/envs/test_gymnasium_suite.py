"""Environments that nobody made for us pass the battery of suites once they are adapted."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest

from eyehand.envs.check import check_robot_env, check_suite
from eyehand.envs.execution import Execution
from eyehand.envs.gymnasium_suite import CAMERA, GymnasiumEnv, gymnasium_suite, said_success
from eyehand.envs.instructions import Instructions
from eyehand.envs.rollout import Start, drive
from eyehand.types import InputError


class Reach(gymnasium.Env[dict[str, Any], np.ndarray]):
    """A dot on a line that must come to the middle; observations are a Dict, actions in [0, 4]."""

    observation_space = gymnasium.spaces.Dict(
        {"place": gymnasium.spaces.Box(-9, 9, (1,)), "side": gymnasium.spaces.Discrete(2)}
    )
    action_space = gymnasium.spaces.Box(0, 4, (1,))
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-3, 3))
        return self.seen(), {}

    def seen(self) -> dict[str, Any]:
        return {"place": np.array([self.place], np.float32), "side": int(self.place > 0)}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = float(np.clip(self.place + float(action[0]) - 2, -9, 9))
        return self.seen(), -abs(self.place), False, False, {"is_success": abs(self.place) < 0.5}

    def render(self) -> np.ndarray:
        picture = np.zeros((20, 30, 3), np.uint8)
        picture[8:12, int(np.clip(15 + 1.5 * self.place, 0, 29))] = 255
        return picture


def make_reach(task: str) -> Reach:
    return Reach()


TASKS = {"reach-middle": Instructions("Come to the middle", ("Go to the middle",))}
SUITE = gymnasium_suite("line", make=make_reach, tasks=TASKS, fps=10, max_steps=30)


def test_an_adapted_environment_passes_both_batteries() -> None:
    check_suite(SUITE)
    env = SUITE.make("reach-middle", cameras={CAMERA: 8})

    def solve() -> np.ndarray:
        return np.clip(-env._env.place / 2, -1, 1)[None].astype(np.float32)

    check_robot_env(env, solve=solve, max_steps=30)
    env.close()


def test_states_are_flattened_and_actions_scaled() -> None:
    env = SUITE.make("reach-middle", cameras={CAMERA: 8})
    observation, _ = env.reset(seed=0)
    place = env._env.place
    np.testing.assert_allclose(observation["state"], [place, place <= 0, place > 0], atol=1e-6)
    env.step(np.array([1], np.float32))
    assert env._env.place == pytest.approx(place + 2)
    *_, truncated, info = [env.step(np.array([1], np.float32)) for _ in range(29)][-1]
    assert truncated
    assert info == {"is_success": False, "success": False}


def test_discrete_actions_and_a_rollout_with_it() -> None:
    made = partial(gymnasium.make, render_mode=None)
    suite = gymnasium_suite(
        "cart", make=made, tasks={"CartPole-v1": Instructions("Balance")}, fps=50, max_steps=20
    )
    assert (len(suite.state), len(suite.action)) == (4, 2)
    env = suite.make("CartPole-v1", cameras={CAMERA: 8}, render_observations=False)
    env.reset(seed=0)
    before = env._env.unwrapped.state
    env.step(np.array([-1, 1], np.float32))
    assert env._env.unwrapped.state[1] > before[1]  # the second action pushes to the right
    with pytest.raises(InputError, match="gives no picture: make it with render_mode"):
        env.render()
    with pytest.raises(InputError, match="2 numbers"):
        env.step(np.zeros(1, np.float32))


def test_unbounded_actions_are_refused() -> None:
    class Unbounded(Reach):
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    with pytest.raises(InputError, match="bounded Box or discrete"):
        GymnasiumEnv(
            "x", make=lambda _: Unbounded(), instruction="Go", fps=1, max_steps=1,
            cameras={CAMERA: 8},
        )  # fmt: skip


def test_success_goes_by_either_name() -> None:
    assert said_success({"success": True})
    assert said_success({"is_success": np.float32(1)})
    assert not said_success({"other": True})


def test_a_policy_drives_it(still_policy: Any) -> None:
    env = SUITE.make("reach-middle", cameras={CAMERA: 8})

    class Narrow:
        def reset(self, env_ids: Any) -> None:
            pass

        def act(self, observation: Any, *, generator: Any = None) -> Any:
            return still_policy.act(observation)[..., :1]

    outcome = drive(Narrow(), env, Start("reach-middle", 0, "Come"), execution=Execution(), most=99)
    assert (outcome.steps, outcome.terminated) == (30, False)
