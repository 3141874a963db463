"""The live robot: it obeys, refuses what makes no sense, shows and records what it does."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyehand.cli import main
from eyehand.collection.episodes import replay_episode, zip_episode
from eyehand.data.store import open_store
from eyehand.envs.metaworld import METAWORLD
from eyehand.envs.rollout import Start
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.evaluation.latency import StageTimer
from eyehand.live.robot import LivePolicy, Robot
from eyehand.policies.registry import load_policy
from eyehand.types import InputError, Observation

HORIZON, EXECUTED = 6, 2
Make = Callable[..., Robot]


class Scripted(nn.Module):
    """Moves along x by the number of words that it is told; looks at the left half."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes, self.head = nn.Identity(), nn.Identity()
        self.told: list[str] = []
        self.forgotten = 0
        self.broken = False

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        (sentence,) = observation.instruction
        self.told.append(sentence)
        self.head(self.eyes(observation.state))
        chunk = torch.zeros(1, HORIZON, 4)
        chunk[..., 0] = torch.nan if self.broken else len(sentence.split()) / 10
        return chunk

    def look(self, observation: Observation, *, word: int | None = None) -> Tensor:
        look = torch.zeros(1, 2, 4)
        look[..., :2] = 1.0 if word is None else 0.5
        look[:, 0, 0] = 1.0
        return look

    def reset(self, env_ids: Sequence[int]) -> None:
        self.forgotten += 1


@pytest.fixture
def policy() -> Scripted:
    return Scripted()


@pytest.fixture
def robot(policy: Scripted) -> Iterator[Robot]:
    live = LivePolicy("scripted", {"work_area": 32}, HORIZON, EXECUTED)
    timer = StageTimer(eyes=policy.eyes, head=policy.head)
    robot = Robot(METAWORLD, policy, live, timer=timer, task="reach", seed=1_000_000)
    yield robot
    robot.close()


def test_it_plans_acts_and_plans_again(robot: Robot, policy: Scripted) -> None:
    robot.advance(3)
    assert len(policy.told) == 2
    assert policy.told[0] == METAWORLD.instructions("reach").canonical
    frame = robot.frame()
    assert frame["step"] == 3
    assert frame["chunk"]["step"] == 2
    assert len(frame["executed"]) == 3
    assert len(frame["done_path"]) == 4
    assert len(frame["planned_path"]) == HORIZON  # the hand, and what is left of the chunk
    assert set(frame["latency"]) == {"perceive", "fuse", "act"}
    assert np.asarray(frame["planned_path"]).min() >= 0


def test_another_sentence_counts_from_the_next_plan_on(robot: Robot, policy: Scripted) -> None:
    robot.advance(1)
    robot.do({"do": "say", "sentence": "  go   there now "})
    assert robot.frame()["sentence"] == "go there now"
    assert robot.frame()["planned_for"] == METAWORLD.instructions("reach").canonical
    robot.advance(1)
    assert policy.told == [METAWORLD.instructions("reach").canonical]
    robot.advance(1)
    assert policy.told[-1] == "go there now"
    assert robot.frame()["words"] == ["go", "there", "now"]


def test_the_path_ahead_is_where_the_hand_goes(robot: Robot) -> None:
    """What is drawn for the next steps, and where the hand then is, lie close together."""
    robot.do({"do": "say", "sentence": "a b c d e f g h i"})
    robot.do({"do": "step"})
    planned = np.asarray(robot.frame()["planned_path"])
    robot.advance(20)
    done = np.asarray(robot.frame()["done_path"])[-1]
    ahead = planned[-1] - planned[0]
    went = done - planned[0]
    assert ahead @ went / (np.linalg.norm(ahead) * np.linalg.norm(went)) > 0.95


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ({"do": "dance"}, "no command 'dance'"),
        ({}, "no command None"),
        ({"do": "start", "task": "drawer-opn", "seed": 1}, "drawer-open"),
        ({"do": "start", "task": "easy", "seed": 1}, "no task of metaworld"),
        ({"do": "start", "task": "reach", "seed": -1}, "a seed must be"),
        ({"do": "start", "task": "reach", "seed": True}, "a seed must be"),
        ({"do": "start", "task": 5, "seed": 1}, "a task must be"),
        ({"do": "start", "task": "reach", "seed": 10**30}, "a seed must be"),
        ({"do": "start", "task": "\udcff", "seed": 1}, "no task of metaworld"),
        ({"do": "say", "sentence": 5}, "a sentence must be a text"),
        ({"do": "say", "sentence": "  "}, "a sentence must have at least one word"),
        ({"do": "say", "sentence": "go " * 20_000}, "a sentence must have at most 500 characters"),
        ({"do": "say", "sentence": "go \udcff"}, "a sentence must be text that can be printed"),
        ({"do": "say", "sentence": "\x1b[2J"}, "a sentence must be text that can be printed"),
        ({"do": "speed", "value": 3}, "speed must be one of"),
        ({"do": "look", "on": 1}, "`on` must be true or false"),
        ({"do": "look", "on": True, "word": 99}, "`word` must be 0 to"),
        ({"do": "human", "on": "yes"}, "`on` must be true or false"),
        ({"do": "hand", "keys": ["fly"]}, "`keys` must be a list of"),
        ({"do": "hand", "keys": "up"}, "`keys` must be a list of"),
        ({"do": "hand", "keys": [["up"]]}, "`keys` must be a list of"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    robot: Robot, command: dict[str, Any], said: str
) -> None:
    robot.advance(1)
    before = robot.frame()
    with pytest.raises(InputError, match=said):
        robot.do(command)
    assert robot.frame() == before


def test_actions_that_are_no_numbers_are_not_done(robot: Robot, policy: Scripted) -> None:
    robot.do({"do": "run"})
    policy.broken = True
    with pytest.raises(InputError, match="not finite"):
        robot.advance(1)
    assert robot.frame()["step"] == 0
    assert not robot.running


def test_a_person_moves_the_hand_as_the_picture_shows_it(robot: Robot) -> None:
    robot.do({"do": "human", "on": True})
    for keys, axis, sign in [(["right"], 0, 1), (["left"], 0, -1), (["up"], 1, -1)]:
        robot.start("reach", 1_000_000)
        robot.do({"do": "hand", "keys": keys})
        robot.advance(30)
        path = np.asarray(robot.frame()["done_path"])
        went = path[-1] - path[0]
        assert sign * went[axis] > 3 * abs(went[1 - axis])
    assert all(robot.take.human)
    grips = []
    for keys in ([], ["grip"], ["grip"], [], ["grip"]):
        robot.do({"do": "hand", "keys": keys})
        robot.advance(1)
        grips.append(float(robot.take.actions[-1][3]))
    assert grips == [-1, 1, 1, 1, -1]


def test_where_it_looks_is_shown_for_a_word_too(robot: Robot) -> None:
    robot.do({"do": "look", "on": True})
    assert robot.frame()["look"] is None
    robot.advance(1)
    shown = robot.frame()["look"]
    assert (shown["rows"], shown["columns"], shown["word"]) == (2, 4, None)
    robot.do({"do": "look", "on": True, "word": 0})
    assert robot.frame()["look"]["word"] == 0
    assert robot.frame()["look"]["data"] != shown["data"]
    robot.do({"do": "look", "on": False})
    assert robot.frame()["look"] is None


def test_a_success_is_counted_and_run_begins_again(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert robot._env is not None
    step = robot._env.step
    monkeypatch.setattr(
        robot._env, "step", lambda action: (*step(action)[:2], True, False, {"success": True})
    )
    robot.do({"do": "run"})
    robot.advance(5)
    frame = robot.frame()
    assert (frame["step"], frame["over"], frame["success"], frame["running"]) == (1, 1, 1, 0)
    assert (frame["episodes"], frame["successes"]) == (1, 1)
    low, high = frame["interval"]
    assert 0 < low < high <= 1
    robot.do({"do": "run"})
    assert robot.frame()["step"] == 0


def test_what_it_did_is_an_episode_that_training_accepts(robot: Robot, tmp_path: Path) -> None:
    robot.advance(4)
    robot.do({"do": "human", "on": True})
    robot.do({"do": "hand", "keys": ["up"]})
    robot.advance(3)
    take = robot.take
    start = Start(take.task, take.seed, take.sentence)
    actions = np.stack(take.actions)
    env = METAWORLD.make("reach", cameras={"work_area": 32}, render_observations=False)
    whole = replay_episode(env, start, take.actions)
    corrected = replay_episode(env, start, take.actions, action_mask=take.human)
    assert len(whole.action) == 7
    np.testing.assert_array_equal(corrected.state, whole.state)
    assert corrected.action_mask.tolist() == [False] * 4 + [True] * 3
    assert whole.action_mask is None
    zip_episode(corrected, tmp_path / "episode.zip", METAWORLD)
    zipfile.ZipFile(tmp_path / "episode.zip").extractall(tmp_path / "data")
    store = open_store(tmp_path / "data")
    np.testing.assert_allclose(store.action, actions, atol=1e-6)
    words = f"train bcz-metaworld --data {tmp_path / 'data'} --out {tmp_path / 'policy'}"
    words += " --policy.image-size 32 --batch-size 2 --training.minutes None --training.steps 1"
    assert main(words.split()) == 0
    assert load_policy(tmp_path / "policy").config.cameras == ("work_area",)
    with pytest.raises(InputError, match="no step"):
        replay_episode(env, start, take.actions, action_mask=[False] * len(actions))
    env.close()


def test_a_robot_without_a_hand_is_shown_and_cannot_be_led(policy: Scripted) -> None:
    class Right(Scripted):
        def act(self, observation: Observation, *, generator: object = None) -> Tensor:
            return super().act(observation)[..., :2]

    live, right = LivePolicy("scripted", {"top": 32}, HORIZON, EXECUTED), Right()
    timer = StageTimer(eyes=right.eyes, head=right.head)
    robot = Robot(TWO_WAYS, right, live, timer=timer, task="two-ways", seed=0)
    robot.advance(3)
    frame = robot.frame()
    assert (frame["step"], frame["done_path"], frame["planned_path"]) == (3, [], [])
    assert len(robot.pictures()) == 2
    with pytest.raises(InputError, match="two-ways does not say where its hand is"):
        robot.do({"do": "human", "on": True})
    robot.close()
