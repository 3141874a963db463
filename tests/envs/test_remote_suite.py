"""A simulator at the other end of a wire gives the very same episodes, and one sentence if not."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from eyehand.envs.check import check_robot_env
from eyehand.envs.remote_suite import describe_suite, remote_suite
from eyehand.envs.suite import Suite, find_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.functional.wire import pack, unpack
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


def test_lengths_and_the_last_start_state_are_told(liar: Callable[..., str]) -> None:
    told = find_suite(liar({"limits": {"two-ways": 20}, "last_seed": 1_000_049}))
    assert (told.limit("two-ways"), told.last_seed) == (20, 1_000_049)


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


@pytest.fixture
def liar() -> Iterator[Callable[..., str]]:
    """Serve two ways, with changes of the description and of every answer; returns its address."""
    servers = []

    def start(described: Mapping[str, Any] = {}, answered: Mapping[str, Any] = {}) -> str:
        def changed(message: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
            kept = {**message, **changes}
            return pack({name: value for name, value in kept.items() if value is not MISSING})

        def talk(socket: ServerConnection) -> None:
            socket.send(changed(describe_suite(TWO_WAYS), described))
            for data in socket:
                asked = unpack(data)
                cameras = asked.get("cameras", {})
                answer = {
                    "state": np.zeros(len(TWO_WAYS.state), np.float32),
                    "image": {name: np.zeros((n, n, 3), np.uint8) for name, n in cameras.items()},
                    "reward": 0.0, "success": False, "terminated": False, "truncated": False,
                    "action": np.zeros(len(TWO_WAYS.action), np.float32),
                }  # fmt: skip
                socket.send(changed(answer, answered))

        server = serve(talk, "127.0.0.1", 0, compression=None)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown()


MISSING = object()
FIELDS = sorted(describe_suite(TWO_WAYS))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [MISSING, None, -1, 1.5, "../../x\n", [[None]], {"a": {}}])
def test_a_description_of_a_wrong_kind_is_said_in_one_sentence(
    liar: Callable[..., str], field: str, value: object
) -> None:
    address = liar({field: value})
    with pytest.raises(
        InputError, match=rf"the simulator at {address} must answer '{field}', .*\. Got"
    ) as refused:
        find_suite(address)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"groups": {"all": ["../../precious"]}}, "'groups', lists of names of tasks"),
        ({"groups": {"all": ["other"]}}, "'sentences', three lists of sentences for every task"),
        ({"cameras": ["a/b"]}, "'cameras', a list of names"),
        ({"cameras": []}, "'cameras', a list of names"),
        ({"fps": True}, "'fps', a number from 1 to 1000. Got True"),
        ({"max_steps": 10**9}, "'max_steps', a number from 1 to 1000000. Got 1000000000"),
        ({"action": []}, "'action', a list of names with units"),
        ({"scenes": [["reach"]]}, "'scenes', lists of tasks"),
        ({"limits": {"other": 5}}, "'limits', lengths of episodes by name of group"),
        ({"last_seed": "49"}, "'last_seed', a seed. Got '49'"),
        ({"sentences": {"two-ways": [[], [], []]}}, "'sentences'"),
        ({"sentences": {"two-ways": [["go", "stop"], [], []]}}, "'sentences'"),
    ],
)
def test_a_description_that_no_suite_has_is_refused(
    liar: Callable[..., str], described: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        find_suite(liar(described))


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ({"state": MISSING}, r"'state', 2 finite numbers. Got only \['action', 'image'"),
        ({"state": [0.0] * 2}, r"'state', 2 finite numbers. Got \[0.0"),
        ({"state": np.zeros(3)}, r"'state', 2 finite numbers. Got float64 \(3,\)"),
        ({"state": np.full(2, np.nan)}, "'state', 2 finite numbers"),
        ({"image": MISSING}, "'image', a map of pictures. Got only"),
        ({"image": [1]}, r"'image', a map of pictures. Got \[1\]"),
        ({"image": {}}, r"'top', a uint8 picture \(16, 16, 3\). Got only \[\]"),
        (
            {"image": {"top": np.zeros((8, 8, 3), np.uint8)}},
            r"16, 3\). Got uint8 \(8, 8, 3\)",
        ),
        ({"image": {"top": np.zeros((16, 16, 3))}}, r"Got float64 \(16, 16, 3\)"),
        ({"image": {"top": b"png"}}, "Got b'png'"),
        ({"reward": MISSING}, "'reward', a finite number. Got only"),
        ({"reward": "high"}, "'reward', a finite number. Got 'high'"),
        ({"reward": float("inf")}, "'reward', a finite number. Got inf"),
        ({"success": 1}, "'success', true or false. Got 1"),
        ({"terminated": MISSING}, "'terminated', true or false. Got only"),
        ({"truncated": None}, "'truncated', true or false. Got None"),
        ({"action": MISSING}, "'action', 2 finite numbers. Got only"),
        ({"action": np.zeros((1, 2))}, r"'action', 2 finite numbers. Got float64 \(1, 2\)"),
    ],
)
def test_an_answer_of_a_wrong_kind_is_said_in_one_sentence(
    liar: Callable[..., str], answered: dict[str, Any], said: str
) -> None:
    address = liar(answered=answered)
    env = find_suite(address).make("two-ways", cameras={"top": 16})

    def use() -> None:
        env.reset(seed=0)
        env.step(np.zeros(2, np.float32))
        env.expert_action()

    with (
        closing(env),
        pytest.raises(InputError, match=rf"the simulator at {address} must answer .*{said}"),
    ):
        use()


def test_a_suite_of_somebodys_module() -> None:
    assert find_suite("eyehand.envs.two_ways:TWO_WAYS") is TWO_WAYS
    with pytest.raises(InputError, match="cannot be imported"):
        find_suite("nowhere:SUITE")
    with pytest.raises(InputError, match=r"must be a Suite\. Got dict"):
        find_suite("eyehand.envs.suite:SUITES")
