"""The client's side of the wire, against our server and against one that is not ours."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
import websockets.sync.server

from eyehand.functional.wire import pack, unpack
from eyehand.serving.client import OverlappedChunks, PolicyConnection, RemotePolicy
from eyehand.serving.connections import Patience
from eyehand.types import InputError, Observation

Serve = Make = Callable[..., Any]
Answer = Callable[[Mapping[str, Any]], bytes | str]
HORIZON = 4


@pytest.fixture
def foreign() -> Iterator[Callable[..., str]]:
    """Serve what a function answers, as a server that is not ours; returns its address."""
    servers = []

    def start(answer: Answer, hello: bytes | str = pack({})) -> str:
        def talk(socket: websockets.sync.server.ServerConnection) -> None:
            socket.send(hello)
            for message in socket:
                assert isinstance(message, bytes)
                socket.send(answer(unpack(message)))

        server = websockets.sync.server.serve(talk, "127.0.0.1", 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown()


def robots(*env_ids: int) -> Observation:
    return Observation(
        image={"front": torch.zeros(len(env_ids), 8, 8, 3, dtype=torch.uint8)},
        state=torch.zeros(len(env_ids), 3),
        instruction=["wait"] * len(env_ids),
        env_ids=list(env_ids),
    )


def test_another_server_is_sent_nothing_that_only_ours_understands(
    foreign: Callable[..., str], observation: Make
) -> None:
    def echo_keys(message: Mapping[str, Any]) -> bytes:
        return pack({"keys": sorted(message)})

    with closing(PolicyConnection(foreign(echo_keys))) as connection:
        assert not connection.is_ours
        connection.begin(silence=1.0)
        connection.end()
        answer = connection.infer(observation())
    assert answer == {"keys": ["observation/image", "observation/state", "prompt"]}


def test_our_server_is_sent_the_clock(serve: Serve, observation: Make, echo: Make) -> None:
    _, address = serve(echo(), max_age_ms=200.0)
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        connection.infer(observation(__time__=1000.0))
        with pytest.raises(InputError, match="stale"):  # the true clock is far from 1000
            connection.infer(observation(__time__=1.0))


def test_who_does_not_speak_as_a_policy_server_does_is_refused(
    foreign: Callable[..., str],
) -> None:
    address = foreign(lambda message: "", hello="Welcome!")
    with pytest.raises(InputError, match=rf"no policy server answers at {address}.*Welcome!"):
        PolicyConnection(address)


def test_an_answer_that_does_not_come_is_a_lost_connection(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo(seconds=0.5))
    with (
        closing(PolicyConnection(f"ws://{address}", timeout=0.1)) as connection,
        pytest.raises(InputError, match=f"the connection to ws://{address} is lost"),
    ):
        connection.infer(observation())


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (None, r"floats \(horizon, action\). Got None"),
        (np.zeros(3, np.float32), r"floats \(horizon, action\). Got array"),
        (np.zeros((2, 3), np.int64), r"floats \(horizon, action\). Got array"),
        (np.zeros((2, 4), np.float32), r"of 3 numbers. Got an array of shape \(2, 4\)"),
        (np.zeros((0, 3), np.float32), r"1 to 10000 actions .* Got an array of shape \(0, 3\)"),
        (np.zeros((20_000, 3), np.float32), r"1 to 10000 actions .* shape \(20000, 3\)"),
        (np.full((2, 3), np.nan, np.float32), "must be finite. Got nan"),
        (np.full((2, 3), np.inf), "must be finite. Got nan or infinity"),
    ],
)
def test_an_answer_that_is_no_chunk_is_refused(
    foreign: Callable[..., str], actions: Any, said: str, observation: Make
) -> None:
    address = foreign(lambda message: pack({"actions": actions}), pack({"action_dim": 3}))
    with (
        closing(RemotePolicy(address)) as policy,
        pytest.raises(InputError, match=rf"the server at {address} must answer `actions`.*{said}"),
    ):
        policy.act(robots(0))
    with closing(PolicyConnection(address)) as connection, pytest.raises(InputError, match=said):
        OverlappedChunks(connection, ahead=1).next_action(observation())


def test_the_robot_says_how_wide_an_action_is_where_the_server_does_not(
    foreign: Callable[..., str],
) -> None:
    address = foreign(lambda message: pack({"actions": np.zeros((2, 3))}))
    with closing(RemotePolicy(address)) as policy:
        assert policy.act(robots(0)).shape == (1, 2, 3)
    with (
        closing(RemotePolicy(address, action_dim=4)) as policy,
        pytest.raises(InputError, match=r"of 4 numbers\. Got an array of shape"),
    ):
        policy.act(robots(0))


def test_chunks_of_different_lengths_for_one_call_are_refused(foreign: Callable[..., str]) -> None:
    lengths = iter([2, 3])
    address = foreign(lambda message: pack({"actions": np.zeros((next(lengths), 3))}))
    with (
        closing(RemotePolicy(address)) as policy,
        pytest.raises(InputError, match=r"answer all robots alike. Got .*\(2, 3\), \(3, 3\)"),
    ):
        policy.act(robots(0, 1))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"server": 7}, "'server' as a name. Got 7"),
        ({"server": np.zeros(2)}, "'server' as a name. Got array"),
        ({"cameras": None}, "'cameras' as a list of names. Got None"),
        ({"cameras": "front"}, "'cameras' as a list of names. Got 'front'"),
        ({"cameras": []}, r"'cameras' as a list of names. Got \[\]"),
        ({"cameras": [["front"]]}, "'cameras' as a list of names"),
        ({"cameras": ["x" * 1000]}, "'cameras' as a list of names"),
        ({"picture_keys": ["front"]}, "'picture_keys' as a map of cameras to different fields"),
        ({"picture_keys": {}}, "'picture_keys' as a map"),
        ({"picture_keys": {"front": 3}}, "'picture_keys' as a map"),
        ({"picture_keys": {"a": "prompt"}}, "'picture_keys' as a map"),
        ({"picture_keys": {"a": "same", "b": "same"}}, "'picture_keys' as a map"),
        ({"image_size": "96"}, "'image_size' as a number from 1 to 1024. Got '96'"),
        ({"image_size": 0}, "'image_size' as a number from 1 to 1024. Got 0"),
        ({"image_size": 10**9}, "'image_size' as a number from 1 to 1024. Got 1000000000"),
        ({"image_size": True}, "'image_size' as a number"),
        ({"action_dim": 4.0}, "'action_dim' as a number from 1 to 1000. Got 4.0"),
        ({"action_dim": [4]}, "'action_dim' as a number"),
        ({"checkpoint_sha256": 12}, "'checkpoint_sha256' as a text. Got 12"),
    ],
)
def test_metadata_of_a_wrong_kind_is_said_in_one_sentence(
    foreign: Callable[..., str], metadata: dict[str, Any], said: str
) -> None:
    address = foreign(lambda message: "", hello=pack(metadata))
    with pytest.raises(
        InputError, match=rf"the policy server at {address} must say {said}"
    ) as refused:
        RemotePolicy(address)
    assert len(str(refused.value)) < 300


def test_cameras_that_the_robot_does_not_have_are_named(foreign: Callable[..., str]) -> None:
    address = foreign(lambda message: "", hello=pack({"picture_keys": {"wrist": "picture"}}))
    with (
        closing(RemotePolicy(address)) as policy,
        pytest.raises(InputError, match=rf"{address} reads cameras .*\['wrist'\]. It has .*front"),
    ):
        policy.act(robots(0))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no\x1b[2J way\n" + "x" * 800, r"says: no \[2J way x{100,500}$"),
        (b"\xc1", "sends what is no message: .*not msgpack"),
        (b"", "sends what is no message: .*not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "sends what is no message: .*more than 100000 entries"),
        (bytes(1000), "is lost: .*1009"),
    ],
    ids=["text", "noise", "nothing", "many", "too long"],
)
def test_an_answer_that_is_no_message_is_said_in_one_sentence(
    foreign: Callable[..., str],
    answer: str | bytes,
    said: str,
    observation: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eyehand.serving.client.ANSWER_BYTES", 900)
    address = foreign(lambda message: answer)
    with (
        closing(PolicyConnection(address)) as connection,
        pytest.raises(InputError, match=said) as refused,
    ):
        connection.infer(observation())
    assert address in str(refused.value)


def test_a_server_that_goes_in_the_middle_is_a_lost_connection(
    foreign: Callable[..., str], observation: Make
) -> None:
    def leave(message: Mapping[str, Any]) -> bytes:
        raise ConnectionError

    address = foreign(leave)
    with closing(PolicyConnection(address)) as connection:
        for _ in range(2):
            with pytest.raises(InputError, match=f"the connection to {address} is lost"):
                connection.infer(observation())


def test_an_answer_that_came_too_late_is_not_taken_for_the_next(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo(seconds=0.3))
    with closing(PolicyConnection(f"ws://{address}", timeout=0.1)) as connection:
        for _ in range(2):
            with pytest.raises(InputError, match="is lost"):
                connection.infer(observation())
            threading.Event().wait(0.3)  # until the answer has come


def test_what_cannot_be_sent_is_said_in_one_sentence(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo())
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        for strange in ("open \ud800", object(), 2**70):
            with pytest.raises(InputError, match=f"this cannot be sent to ws://{address}: "):
                connection.infer(observation(prompt=strange))
        assert "actions" in connection.infer(observation())


def test_a_connection_that_the_server_closed_in_the_meantime_is_replaced(
    serve: Serve, echo: Make
) -> None:
    server, address = serve(echo(), patience=Patience(first=0.2))
    with closing(RemotePolicy(f"ws://{address}")) as policy:
        deadline = time.monotonic() + 5
        while server.sessions and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert policy.act(robots(0)).shape == (1, HORIZON, 3)


def test_a_generator_cannot_be_sent(serve: Serve, echo: Make) -> None:
    _, address = serve(echo())
    with (
        closing(RemotePolicy(f"ws://{address}")) as policy,
        pytest.raises(InputError, match="leave out the generator"),
    ):
        policy.act(robots(0), generator=torch.Generator())


def test_after_a_reset_nothing_of_the_last_episode_is_executed(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo()
    _, address = serve(policy)
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        chunks = OverlappedChunks(connection, ahead=HORIZON)  # asks again at every step
        for _ in range(3):
            assert chunks.next_action(observation((0.1, 0.0, 0.0)))[0] == pytest.approx(0.1)
        chunks.reset(silence=5.0)
        assert policy.forgotten == [0]
        assert chunks.next_action(observation((0.2, 0.0, 0.0)))[0] == pytest.approx(0.2)


def test_a_refusal_reaches_whoever_asks_for_the_next_action(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo())
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        chunks = OverlappedChunks(connection, ahead=1)
        with pytest.raises(InputError, match="the policy failed"):
            chunks.next_action(observation(prompt="fail"))


def test_a_remote_policy_acts_for_every_robot_and_leaves_padding(serve: Serve, echo: Make) -> None:
    policy = echo()
    _, address = serve(policy)
    remote = RemotePolicy(f"ws://{address}")
    remote.reset([5, 6])
    chunk = remote.act(
        Observation(
            image={"front": torch.zeros(3, 8, 8, 3, dtype=torch.uint8)},
            state=torch.tensor([[0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0]]),
            instruction=["a", "b", "b"],
            env_ids=[5, 6, -1],
        )
    )
    assert chunk[:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.0])
    remote.close()


def test_chunks_overlap_and_enter_where_time_has_got_to(
    serve: Serve, observation: Make, echo: Make
) -> None:
    """The echo's chunk is the step at which it was asked: what is executed tells its age."""
    policy = echo()
    _, address = serve(policy)
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        chunks = OverlappedChunks(connection, ahead=2)
        done = []
        for step in range(12):
            action = chunks.next_action(observation((step / 100, 0.0, 0.0)))
            done.append((step, round(float(action[0]) * 100)))
            threading.Event().wait(0.02)  # the control period: answers come in between
    assert chunks.waited == 1  # the very first
    assert all(0 <= step - asked < HORIZON for step, asked in done)
    assert len({asked for _, asked in done}) >= 3


def test_nobody_there_is_said_in_one_sentence() -> None:
    with pytest.raises(InputError, match=r"no policy server answers at ws://127\.0\.0\.1:9"):
        PolicyConnection("ws://127.0.0.1:9")


def test_a_robot_that_is_done_gives_its_connection_to_the_next(serve: Serve, echo: Make) -> None:
    def see(robots: list[int]) -> Observation:
        return Observation(
            image={"front": torch.zeros(len(robots), 8, 8, 3, dtype=torch.uint8)},
            state=torch.zeros(len(robots), 3),
            instruction=["wait"] * len(robots),
            env_ids=robots,
        )

    server, address = serve(echo())
    policy = RemotePolicy(f"ws://{address}")
    try:
        for robot in range(5):
            policy.reset([robot])
            policy.act(see([robot]))
            policy.reset([robot])
        assert len(server.sessions) == 1
        policy.act(see([7, 8, -1]))
        assert len(server.sessions) == 2
    finally:
        policy.close()
