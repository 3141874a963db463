"""A replayed episode is the episode: every moment of it, and no more."""

import numpy as np

from eyehand.envs.replay import replay
from eyehand.envs.two_ways import TwoWaysEnv


def test_every_moment_comes_again() -> None:
    env = TwoWaysEnv(cameras={"top": 16})
    observation, _ = env.reset(seed=3)
    seen, done, ended = [observation], list[np.ndarray](), False
    while not ended:
        done.append(env.expert_action())
        observation, _, ended, _, _ = env.step(done[-1])
        seen.append(observation)
    moments = list(replay(env, 3, [*done, np.zeros(2, np.float32)]))
    assert [moment.step for moment in moments] == list(range(len(done) + 1))
    for moment, observation in zip(moments, seen, strict=True):
        np.testing.assert_array_equal(moment.observation["state"], observation["state"])
        np.testing.assert_array_equal(
            moment.observation["image"]["top"], observation["image"]["top"]
        )
    for moment, action in zip(moments, done, strict=False):
        np.testing.assert_array_equal(moment.action, action)
    assert moments[-1].action is None
    assert [moment.success for moment in moments] == [False] * len(done) + [True]
    assert moments[-1].ended


def test_an_episode_may_be_cut_short() -> None:
    env = TwoWaysEnv(cameras={"top": 8})
    first, last = replay(env, 0, [np.zeros(2, np.float32)])
    assert (first.ended, last.ended, last.success) == (False, False, False)
