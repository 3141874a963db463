"""The page of narrow, wide and both: its figures follow from the episodes."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import shifted_world
from benchmarks.shifted_world import DARK, EPISODES, FIRST, OFFSET, SHIFTED, WIDE, ChangingMetaWorld
from eyehand.envs.metaworld import MT10, MetaWorldEnv
from eyehand.evaluation.results import Results


def test_the_page_says_means_and_paired_differences(made_results: Callable[..., Results]) -> None:
    results = partial(made_results, MT10, first=FIRST, episodes=EPISODES)
    found = {
        "narrow": {"usual": results(failing=0), "shifted": results(failing=10)},
        "wide": {"usual": results(failing=2), "shifted": results(failing=4)},
        "both": {"usual": results(failing=1), "shifted": results(failing=4)},
    }
    text = shifted_world.page(found, minutes=8)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert rows["narrow"].split("|")[3].strip().startswith("50.0 (")
    assert rows["wide"].split("|")[2].strip().startswith("90.0 (")
    # Six seeds on which ten tasks differ alike: 2 of 2^6 flips are as far apart.
    assert "| narrow less wide | shifted | -60 | 0.031 |" in text
    assert "| wide less both | shifted | +0 | 1 |" in text


def test_every_episode_of_the_wide_world_has_its_own_light_and_camera() -> None:
    env = ChangingMetaWorld("reach", render_observations=False)
    seen = []
    for seed in (3, 4, 3):
        env.reset(seed=seed)
        seen.append((env._camera_offset, env._light))
        assert abs(env._camera_offset) <= OFFSET
        assert env._light >= DARK
    assert seen[0] == seen[2] != seen[1]
    plain = MetaWorldEnv("reach", render_observations=False)
    np.testing.assert_array_equal(env.reset(seed=9)[0]["state"], plain.reset(seed=9)[0]["state"])


def test_the_shifted_world_is_a_protocol_of_its_own() -> None:
    assert SHIFTED.protocol != WIDE.protocol
    env = SHIFTED.make("reach", render_observations=False)
    assert isinstance(env, MetaWorldEnv)
