"""Demonstrations: they replay, pushes are made good, and a policy may drive up to a moment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from eyehand.collection import demonstrate as demonstrate_module
from eyehand.collection.demonstrate import (
    LONGEST_LEAD,
    OPEN,
    _pushes,
    demonstrate,
    lead_of,
)
from eyehand.envs.execution import Execution
from eyehand.envs.metaworld import MAX_STEPS, METAWORLD, MetaWorldEnv
from eyehand.types import ActionChunk, Observation

STEPS_PER_PLAN = Execution().steps
LONGEST = round(LONGEST_LEAD * MAX_STEPS)


@pytest.fixture(scope="module")
def environment() -> Any:
    environment = MetaWorldEnv("drawer-open", cameras={"corner4": 24}, render_observations=False)
    yield environment
    environment.close()


def test_a_demonstration_replays(environment: MetaWorldEnv) -> None:
    episode = demonstrate(METAWORLD, environment, seed=3, perturbation=0.0)
    assert episode is not None
    observation, _ = environment.reset(seed=3)
    for step, action in enumerate(episode.action):
        np.testing.assert_array_equal(observation["state"], episode.state[step])
        np.testing.assert_array_equal(environment.expert_action(), action)
        picture = environment.render().astype(int)
        np.testing.assert_array_equal(picture, episode.image["corner4"][step])
        np.testing.assert_array_equal(environment.landmarks(), episode.landmarks[step])
        observation, _, success, _, _ = environment.step(action)
        assert success == (step == len(episode.action) - 1)
    assert np.abs(episode.action).max() <= 1


def test_a_hand_that_has_closed_on_nothing_opens_again() -> None:
    """Meta-World's expert alone never opens it, and fails."""
    environment = MetaWorldEnv("push-wall", cameras={"corner4": 24}, render_observations=False)
    close = [np.array([0, 0, 0, 1], np.float32)] * 30
    episode = demonstrate(METAWORLD, environment, seed=3, perturbation=0.0, lead=close)
    assert episode is not None
    assert 0 not in episode.action[:, 3]
    assert OPEN in episode.action[:, 3]
    environment.reset(seed=3)
    for action in close:
        environment.step(action)
    successes = [environment.step(environment.expert_action())[2] for _ in range(300)]
    assert not any(successes)
    environment.close()


def test_pushes_move_the_hand_but_not_the_label(environment: MetaWorldEnv) -> None:
    plain = demonstrate(METAWORLD, environment, seed=3, perturbation=0.0)
    pushed = demonstrate(METAWORLD, environment, seed=3, perturbation=1.5)
    again = demonstrate(METAWORLD, environment, seed=3, perturbation=1.5)
    assert plain is not None
    assert pushed is not None
    assert again is not None
    np.testing.assert_array_equal(pushed.action, again.action)
    steps = min(len(plain.state), len(pushed.state))
    away = np.abs(pushed.state[:steps, :3] - plain.state[:steps, :3]).max()
    assert 0.01 < away < 0.5  # metres
    observation, _ = environment.reset(seed=3)
    pushes = _pushes(METAWORLD, "drawer-open", 3, 1.5)
    for step, action in enumerate(pushed.action):
        np.testing.assert_array_equal(observation["state"], pushed.state[step])
        np.testing.assert_array_equal(environment.expert_action(), action)
        observation, *_ = environment.step(np.clip(action + next(pushes), -1, 1))


def test_pushes_come_in_bursts_and_spare_the_gripper() -> None:
    pushes = _pushes(METAWORLD, "reach", 0, 0.5)
    found = np.stack([next(pushes) for _ in range(20_000)])
    assert (found[:, 3] == 0).all()
    is_pushed = found[:, 0] != 0
    begins = np.flatnonzero(is_pushed[1:] & (found[1:, 0] != found[:-1, 0])) + 1
    for begin in begins[:-1]:
        assert (found[begin : begin + 10] == found[begin]).all()
    assert is_pushed.mean() == pytest.approx(10 / (10 + 30), abs=0.02)
    assert found[begins, :3].std() == pytest.approx(0.5, abs=0.02)
    assert (next(_pushes(METAWORLD, "reach", 0, 0.0)) == 0).all()


class Planned:
    """Executes one plan, whatever it sees, and writes down what it saw."""

    def __init__(self, plan: np.ndarray) -> None:
        self.plan, self.at = torch.from_numpy(plan), 0
        self.seen: list[Observation] = []

    def reset(self, env_ids: Sequence[int]) -> None:
        assert list(env_ids) == [0]
        self.at, self.seen = 0, []

    def act(self, observation: Observation, *, generator: object = None) -> ActionChunk:
        self.seen.append(observation)
        chunk = torch.zeros(1, 16, 4)
        ahead = self.plan[self.at : self.at + 16]
        chunk[0, : len(ahead)] = ahead
        self.at += STEPS_PER_PLAN
        return chunk


def aside(steps: int) -> np.ndarray:
    """A plan that takes the hand away from everything, with efforts beyond the limits."""
    plan = np.tile(np.array([0.4, 0.0, 3.0, -1.0], np.float32), (steps, 1))
    plan[steps // 2 :, :3] *= -0.5
    return plan


def test_a_lead_is_the_past_that_nobody_learns(environment: MetaWorldEnv) -> None:
    """What comes before the expert is recorded as it was seen, and masked; then pushes begin."""
    lead = list(aside(37).clip(-1, 1))
    episode = demonstrate(METAWORLD, environment, seed=3, perturbation=1.5, lead=lead)
    assert episode is not None
    assert episode.action_mask is not None
    assert episode.action_mask.tolist() == [False] * 37 + [True] * (len(episode.action) - 37)
    np.testing.assert_array_equal(episode.action[:37], lead)
    observation, _ = environment.reset(seed=3)
    pushes = _pushes(METAWORLD, "drawer-open", 3, 1.5)
    for step, action in enumerate(episode.action):
        np.testing.assert_array_equal(observation["state"], episode.state[step])
        np.testing.assert_array_equal(environment.landmarks(), episode.landmarks[step])
        if step in (0, 36, 37):
            np.testing.assert_array_equal(environment.render(), episode.image["corner4"][step])
        push = next(pushes) if step >= 37 else 0
        observation, _, success, _, _ = environment.step(np.clip(action + push, -1, 1))
        assert success == (step == len(episode.action) - 1)
    assert episode.landmarks.shape == (len(episode.state), len(METAWORLD.landmarks), 3)


def test_an_expert_that_has_no_time_left_gives_no_episode(environment: MetaWorldEnv) -> None:
    lead = [np.zeros(4, np.float32)] * 495
    assert demonstrate(METAWORLD, environment, seed=3, perturbation=0.0, lead=lead) is None


def lead_by(policy: Planned, environment: MetaWorldEnv, seed: int) -> list[np.ndarray]:
    lead = lead_of(METAWORLD, policy, environment, seed=seed, instruction="open it")
    assert lead is not None
    return lead


def test_a_policy_that_never_succeeds_drives_up_to_a_random_moment(
    environment: MetaWorldEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 24
    monkeypatch.setattr(demonstrate_module, "LONGEST_LEAD", longest / MAX_STEPS)
    plan = aside(LONGEST)
    policy, lengths = Planned(plan), []
    for seed in range(12):
        lead = lead_by(policy, environment, seed)
        lengths.append(len(lead))
        assert len(policy.seen) == longest / STEPS_PER_PLAN
        if seed < 3:
            again = lead_by(Planned(plan), environment, seed)
            np.testing.assert_array_equal(np.array(again), np.array(lead))
        for step, action in enumerate(lead):
            np.testing.assert_array_equal(action, plan[step].clip(-1, 1))
    assert max(lengths) <= longest
    assert len(set(lengths)) > 6
    assert min(lengths) < longest / 3
    assert max(lengths) > longest * 2 / 3


def test_the_longest_lead_leaves_the_expert_time(environment: MetaWorldEnv) -> None:
    policy = Planned(np.zeros((LONGEST, 4), np.float32))
    assert len(lead_by(policy, environment, 0)) <= LONGEST
    assert len(policy.seen) == LONGEST / STEPS_PER_PLAN


def test_two_of_three_successes_of_the_policy_are_left_out(environment: MetaWorldEnv) -> None:
    left_out = []
    for seed in range(9):
        episode = demonstrate(METAWORLD, environment, seed=seed, perturbation=0.0)
        assert episode is not None
        leads = [
            lead_of(METAWORLD, Planned(episode.action), environment, seed=seed, instruction="go")
            for _ in range(2)
        ]
        assert (leads[0] is None) == (leads[1] is None)  # the seed decides
        left_out.append(leads[0] is None)
    assert 3 <= sum(left_out) <= 8


def test_a_lead_ends_before_the_success_of_the_policy(
    environment: MetaWorldEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrate_module, "KEPT_SUCCESSES", 1.0)
    episode = demonstrate(METAWORLD, environment, seed=3, perturbation=0.0)
    assert episode is not None
    plan, lengths = episode.action, []
    assert len(plan) < LONGEST
    policy = Planned(plan)
    for _ in range(2):
        lead = lead_by(policy, environment, 3)
        assert len(policy.seen) == -(-len(plan) // STEPS_PER_PLAN)
        assert len(lead) < len(plan)
        lengths.append(len(lead))
        environment.reset(seed=3)
        assert not any(environment.step(action)[2] for action in lead)
        corrected = demonstrate(METAWORLD, environment, seed=3, perturbation=0.0, lead=lead)
        assert corrected is not None
        assert len(corrected.action) > 0
    assert lengths[0] == lengths[1]


def test_a_policy_that_drives_sees_what_it_would_see_in_an_evaluation(
    environment: MetaWorldEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrate_module, "LONGEST_LEAD", 12 / MAX_STEPS)
    plan = aside(12)
    policy = Planned(plan)
    lead_by(policy, environment, 5)
    assert len(policy.seen) == 3
    observation, _ = environment.reset(seed=5)
    for number, seen in enumerate(policy.seen):
        assert list(seen.instruction) == ["open it"]
        assert list(seen.env_ids) == [0]
        assert seen.image.keys() == {environment.camera}
        np.testing.assert_array_equal(seen.image["corner4"][0], environment.render())
        np.testing.assert_array_equal(seen.state[0], observation["state"])
        for action in plan[4 * number : 4 * number + 4].clip(-1, 1):
            observation, *_ = environment.step(action)
