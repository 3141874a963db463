"""The battery must find what is wrong with an environment."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from eyehand.envs.check import check_env


class Toy(gymnasium.Env[dict[str, Any], np.ndarray]):
    """A correct environment, with one fault on demand: walk right for three steps to succeed."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        if fault == "limits":
            self.action_space = gymnasium.spaces.Box(-2, 1, (2,), np.float32)
        eye = gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({
            "image": gymnasium.spaces.Dict({"eye": eye}),
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32),
            "instruction": gymnasium.spaces.Text(20),
        })  # fmt: skip
        self.picture = np.zeros((4, 4, 3), np.uint8)
        self.episodes = self.successes = self.failures = 0

    def observe(self) -> dict[str, Any]:
        picture = self.picture if self.fault == "memory" else self.picture.copy()
        if self.fault != "constant":
            picture[0, 0, :2] = int(100 * abs(self.state[0])) % 200 + 1, self.steps + 1
        state = np.full(2, np.nan, np.float32) if self.fault == "nan" else self.state.copy()
        return {"image": {"eye": picture}, "state": state, "instruction": "Go"}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], Any]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        self.state += {"partial": self.episodes, "failure": self.failures,
                       "success": self.successes}.get(self.fault, 0)  # fmt: skip
        if self.fault == "same start":
            self.state[:] = 0.5
        self.episodes += 1
        self.steps = self.right = 0
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, Any]:
        self.state += 0.1 * action
        self.steps += 1
        self.right = self.right + 1 if action[0] == -1 else 0
        success = self.right == 3
        truncated = self.steps == 20 and (not success or self.fault == "merged")
        self.successes += success
        self.failures += truncated
        if self.fault == "merged":
            success, truncated = self.steps == 4, self.steps == 4
        return self.observe(), 0.0, success, truncated, {"success": success}


def left() -> np.ndarray:
    return np.array([-1, 0], np.float32)


def test_accepts_what_is_right() -> None:
    check_env(Toy(), solve=left, max_steps=20)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("limits", "begin at -1"),
        ("memory", "share memory"),
        ("constant", "'eye' is constant"),
        ("nan", "not finite"),
        ("same start", "two seeds give the same start"),
        ("partial", "two different episodes"),
        ("failure", "a failed episode changes"),
        ("success", "a solved episode changes"),
        ("merged", "both terminated and truncated"),
    ],
)
def test_refuses_what_is_wrong(fault: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_env(Toy(fault), solve=left, max_steps=20)


def test_says_if_the_expert_fails() -> None:
    with pytest.raises(AssertionError, match="did not solve"):
        check_env(Toy(), solve=lambda: np.zeros(2, np.float32), max_steps=20)


def test_says_if_an_episode_has_no_end() -> None:
    with pytest.raises(AssertionError, match="goes on after 10 steps"):
        check_env(Toy(), max_steps=10)
