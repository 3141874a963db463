"""Episodes of replayed actions, and the data sets that they become."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from eyehand.collection.episodes import dataset_writer, replay_episode, zip_episode
from eyehand.data.lerobot import Dataset
from eyehand.envs.rollout import Start
from eyehand.envs.two_ways import TWO_WAYS, TwoWaysEnv
from eyehand.types import InputError

START = Start("two-ways", 3, "Go around")
ACTIONS = [np.array([0.5, 1], np.float32), np.array([-0.5, 0], np.float32)]


def test_an_episode_is_what_was_seen_before_each_action() -> None:
    env = TwoWaysEnv(cameras={"top": 12})
    episode = replay_episode(env, START, ACTIONS, labels=[ACTIONS[1], ACTIONS[0]])
    observation, _ = env.reset(seed=3)
    for step, action in enumerate(ACTIONS):
        np.testing.assert_array_equal(episode.image["top"][step], observation["image"]["top"])
        np.testing.assert_array_equal(episode.state[step], observation["state"])
        observation, *_ = env.step(action)
    np.testing.assert_array_equal(episode.action, [ACTIONS[1], ACTIONS[0]])
    assert (episode.instruction, episode.task, episode.seed) == ("Go around", "two-ways", 3)
    assert episode.landmarks is None
    assert episode.action_mask is None


def test_an_episode_without_anything_to_learn_is_refused() -> None:
    env = TwoWaysEnv(cameras={"top": 12})
    with pytest.raises(InputError, match="no step of the episode has an action to learn"):
        replay_episode(env, START, ACTIONS, action_mask=[False, False])


def test_a_zipped_episode_is_a_data_set_with_its_mask(tmp_path: Path) -> None:
    env = TwoWaysEnv(cameras={"top": 12})
    episode = replay_episode(env, START, ACTIONS, action_mask=[False, True])
    zip_episode(episode, tmp_path / "one.zip", TWO_WAYS)
    zipfile.ZipFile(tmp_path / "one.zip").extractall(tmp_path / "data")
    found = Dataset(tmp_path / "data").episode(0)
    assert found.action_mask is not None
    assert found.action_mask.tolist() == [False, True]
    np.testing.assert_array_equal(found.image["top"], episode.image["top"])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".zip"] == ["one.zip"]


def test_a_writer_has_the_suites_sizes(tmp_path: Path) -> None:
    with dataset_writer(tmp_path / "data", TWO_WAYS, {"top": 12}, corrections=False) as writer:
        writer.add(replay_episode(TwoWaysEnv(cameras={"top": 12}), START, ACTIONS))
    dataset = Dataset(tmp_path / "data")
    assert (dataset.fps, dict(dataset.columns)) == (10, {})
    assert dataset.cameras["top"].height == 12
