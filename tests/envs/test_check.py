"""The batteries must find what is wrong with an environment."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from eyehand.envs.check import check_env, check_robot_env
from eyehand.envs.robot_env import RobotEnv


class Toy(RobotEnv):
    """A correct environment, with one fault on demand: walk left for three steps to succeed."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(
            "toy", instruction="Go", cameras={"eye": 4}, state_dim=2, action_dim=2, fps=10
        )
        self.fault = fault
        if fault == "limits":
            self.action_space = gymnasium.spaces.Box(-2, 1, (2,), np.float32)
        self.shown = np.zeros((4, 4, 3), np.uint8)
        self.episodes = self.successes = self.failures = 0

    def picture(self, camera: str, *, size: int, quality: Any = None) -> np.ndarray:
        picture = self.shown if self.fault == "memory" else self.shown.copy()
        if self.fault != "constant":
            picture[0, 0, :2] = int(100 * abs(self.state[0])) % 200 + 1, self.steps + 1
        return picture

    def observe(self) -> dict[str, Any]:
        return self.observation(np.full(2, np.nan) if self.fault == "nan" else self.state)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], Any]:
        self.seed_of_episode(seed)
        self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.state += {"partial": self.episodes, "failure": self.failures,
                       "success": self.successes}.get(self.fault, 0)  # fmt: skip
        if self.fault == "same start":
            self.state[:] = 0.5
        self.episodes += 1
        self.steps = self.left = 0
        return self.observe(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, Any]:
        self.state = self.state + 0.1 * action
        self.steps += 1
        self.left = self.left + 1 if action[0] == -1 else 0
        success = self.left == 3
        truncated = self.steps == 20 and (not success or self.fault == "merged")
        self.successes += success
        self.failures += truncated
        terminated = success
        if self.fault == "merged":
            terminated, truncated = self.steps == 4, self.steps == 4
        if self.fault == "goes on":
            success, terminated = True, False
        return self.observe(), 0.0, terminated, truncated, {"success": success}


def left() -> np.ndarray:
    return np.array([-1, 0], np.float32)


def test_what_is_right_is_accepted() -> None:
    check_robot_env(Toy(), solve=left, max_steps=20)


def test_any_spaces_pass_the_core() -> None:
    env = gymnasium.make("CartPole-v1")
    check_env(env)
    env.close()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("limits", "begin at -1"),
        ("memory", "share memory"),
        ("constant", "'eye' is constant"),
        ("nan", "not finite"),
        ("same start", "two seeds give the same start"),
        ("partial", "two different episodes"),
        ("failure", "an episode to its end changes"),
        ("success", "a solved episode changes"),
        ("merged", "both terminated and truncated"),
        ("goes on", "a success does not end"),
    ],
)
def test_what_is_wrong_is_refused(fault: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_robot_env(Toy(fault), solve=left, max_steps=20)


def test_an_expert_that_fails_is_named() -> None:
    with pytest.raises(AssertionError, match="did not solve"):
        check_robot_env(Toy(), solve=lambda: np.zeros(2, np.float32), max_steps=20)


def test_an_episode_without_an_end_is_named() -> None:
    with pytest.raises(AssertionError, match="goes on after 10 steps"):
        check_robot_env(Toy(), max_steps=10)
