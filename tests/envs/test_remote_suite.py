"""A simulator at the other end of a wire gives the very same episodes, and one sentence if not."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from eyehand.envs.check import check_robot_env
from eyehand.envs.remote_suite import remote_suite
from eyehand.envs.suite import Suite, find_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.serving.simulator_server import suite_server
from eyehand.types import InputError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The stub: two ways, served on this machine."""
    with suite_server(TWO_WAYS) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def suite(address: str) -> Suite:
    return find_suite(address)


def test_the_suite_is_described_whole(suite: Suite, address: str) -> None:
    for field in ("name", "protocol", "groups", "score", "cameras", "view", "state", "action"):
        assert getattr(suite, field) == getattr(TWO_WAYS, field), field
    assert (suite.fps, suite.max_steps) == (TWO_WAYS.fps, TWO_WAYS.max_steps)
    assert suite.instructions("two-ways") == TWO_WAYS.instructions("two-ways")
    assert remote_suite(address) is suite  # asked once


def test_episodes_are_the_same_bit_for_bit(suite: Suite) -> None:
    there, here = (one.make("two-ways", cameras={"top": 16}) for one in (suite, TWO_WAYS))
    seen, want = there.reset(seed=3)[0], here.reset(seed=3)[0]
    ended = False
    while not ended:
        np.testing.assert_array_equal(seen["state"], want["state"])
        np.testing.assert_array_equal(seen["image"]["top"], want["image"]["top"])
        action = here.expert_action()
        np.testing.assert_array_equal(there.expert_action(), action)
        seen, *rest, info = there.step(action)
        want, *expected, said = here.step(action)
        assert rest == expected
        assert info["success"] == said["success"]
        ended = rest[1]
    assert info["success"]
    np.testing.assert_array_equal(there.picture("top", size=24), here.picture("top", size=24))
    there.close()


def test_it_passes_the_battery(suite: Suite) -> None:
    env = suite.make("two-ways", cameras={"top": 16})
    check_robot_env(env, solve=env.expert_action, max_steps=50)
    env.close()


def test_what_the_simulator_refuses_is_said_and_the_connection_stays(suite: Suite) -> None:
    env = suite.make("two-ways", cameras={"top": 16}, render_observations=False)
    with pytest.raises(InputError, match="no episode has begun: reset first"):
        env.step(np.zeros(2, np.float32))
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"pixels a side\. Got 100000"):
        env.picture("top", size=100_000)
    with pytest.raises(InputError, match="no camera of two-ways 'side'"):
        env.picture("side", size=8)
    assert env.render().shape == (16, 16, 3)
    env.close()
    with pytest.raises(InputError, match="no task of two-ways 'reach'"):
        suite.make("reach", cameras={"top": 16})


def test_nobody_there_and_no_suite_there() -> None:
    with pytest.raises(InputError, match=r"no simulator answers at ws://127\.0\.0\.1:1"):
        find_suite("ws://127.0.0.1:1")


def test_a_suite_of_somebodys_module() -> None:
    assert find_suite("eyehand.envs.two_ways:TWO_WAYS") is TWO_WAYS
    with pytest.raises(InputError, match="cannot be imported"):
        find_suite("nowhere:SUITE")
    with pytest.raises(InputError, match=r"must be a Suite\. Got dict"):
        find_suite("eyehand.envs.suite:SUITES")
