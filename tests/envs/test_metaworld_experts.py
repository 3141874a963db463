"""Experts of picking up: they succeed, come back from trouble, and change smoothly."""

import numpy as np
import pytest

from eyehand.envs.metaworld import METAWORLD, MetaWorldEnv
from eyehand.envs.metaworld_experts import EMPTY, EXPERTS, NEAR, Scene

HARDEST = ("soccer", "peg-unplug-side", "disassemble")
"""Where Meta-World's own expert fails most; the other tasks are slow tests."""
SLOW = pytest.mark.slow
EVERY = pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task in HARDEST else SLOW) for task in EXPERTS]
)


def scene(task: str, **changes: object) -> Scene:
    """The hand at the object, fingers open."""
    first = np.array([0.05, 0.7, 0.02])
    parts: dict[str, object] = {
        "hand": first + EXPERTS[task].grip,
        "opening": 1.0,
        "first": first,
        "second": np.array([0.2, 0.6, 0.13]),
        "goal": np.array([0.1, 0.85, 0.1]),
    }
    return Scene(**{**parts, **changes})  # type: ignore[arg-type]


def wins(task: str, seeds: range, *, trouble: bool) -> int:
    """Successes of the expert, after a time in which the hand was led astray and fingers moved."""
    env, found = MetaWorldEnv(task, render_observations=False), 0
    for seed in seeds:
        random = np.random.default_rng(seed)
        env.reset(seed=seed)
        astray = int(random.integers(20, 120)) if trouble else 0
        ended = success = False
        step = 0
        while not ended:
            action = env.expert_action()
            if step < astray:
                action[:3] += random.normal(0, 1.0, 3)
                if step % 25 > 10:
                    action[3] = 1.0
            _, _, terminated, truncated, info = env.step(action)
            ended, success, step = terminated or truncated, info["success"], step + 1
        found += success
    return found


@EVERY
def test_the_expert_succeeds_and_comes_back_from_trouble(task: str) -> None:
    assert wins(task, range(5000, 5004), trouble=False) == 4
    assert wins(task, range(5000, 5004), trouble=True) >= 2


@pytest.mark.parametrize("task", EXPERTS)
def test_fingers_close_only_around_the_object(task: str) -> None:
    expert = EXPERTS[task]
    assert expert.act(scene(task))[3] == 1
    above = scene(task)
    above.hand[2] += 0.1
    assert expert.act(above)[3] == -1
    assert expert.act(above)[2] == -1
    aside = scene(task)
    aside.hand[0] += 0.1
    assert expert.act(aside)[3] == -1


@pytest.mark.parametrize("task", EXPERTS)
def test_fingers_that_closed_on_nothing_open_on_the_way_up(task: str) -> None:
    action = EXPERTS[task].act(scene(task, opening=EMPTY / 2))
    assert action[3] == -1
    assert action[2] > 0.5


@pytest.mark.parametrize("task", EXPERTS)
def test_the_hand_is_lowered_smoothly(task: str) -> None:
    """No threshold at which down turns into up: a metre per second at most per millimetre."""
    expert, before = EXPERTS[task], None
    for aside in np.arange(0, 0.15, 0.001):
        now = scene(task)
        now.hand[:] += [aside, 0, expert.above / 2]
        action = expert.act(now)
        assert action[3] == -1
        if before is not None:
            assert np.abs(action[:3] - before).max() < 0.25
        before = action[:3]


def test_a_held_object_is_carried_and_one_that_is_far_is_not() -> None:
    held = scene("disassemble", opening=0.4)
    np.testing.assert_array_equal(EXPERTS["disassemble"].act(held), [0, 0, 1, 1])
    held.first[0] += 2 * NEAR
    assert EXPERTS["disassemble"].act(held)[3] == -1


def test_they_know_no_more_than_the_observation_of_the_simulator() -> None:
    env = MetaWorldEnv("soccer", render_observations=False)
    env.reset(seed=3)
    first = env.expert_action()
    for _ in range(3):
        np.testing.assert_array_equal(env.expert_action(), first)
    assert set(EXPERTS) <= set(METAWORLD.tasks)
