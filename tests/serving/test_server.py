"""Clients over a real WebSocket: answers, refusals that change nothing, memory, bounds, tokens."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgpack
import numpy as np
import psutil
import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from eyehand.functional.wire import pack, unpack
from eyehand.serving import server as server_module
from eyehand.serving.client import PolicyConnection
from eyehand.serving.connections import Patience
from eyehand.serving.observation import Bounds, PolicyInterface, read_observation
from eyehand.serving.server import REFUSED_SECONDS, ServeConfig, check_exposure, listen
from eyehand.types import InputError

Serve = Make = Callable[..., Any]
HORIZON = 4


@contextmanager
def connected(address: str, **settings: Any) -> Iterator[PolicyConnection]:
    connection = PolicyConnection(f"ws://{address}", **settings)
    try:
        yield connection
    finally:
        connection.close()


def test_an_observation_is_answered_by_a_chunk(
    serve: Serve, interface: PolicyInterface, observation: Make, echo: Make
) -> None:
    _, address = serve(echo())
    with connected(address) as connection:
        assert connection.metadata["name"] == "echo"
        assert connection.metadata["picture_keys"] == {"front": "observation/image"}
        answer = connection.infer(observation((0.1, 0.2, 0.3)))
        np.testing.assert_allclose(answer["actions"], [[0.1, 0.2, 0.3]] * HORIZON, rtol=1e-6)
        assert answer["server_timing"]["robots"] == 1


def test_beyond_limits_is_clipped_and_counted(serve: Serve, observation: Make, echo: Make) -> None:
    _, address = serve(echo())
    with connected(address) as connection:
        answer = connection.infer(observation((2.0, -0.5, 0.75)))
    np.testing.assert_allclose(answer["actions"], [[1.0, -0.5, 0.5]] * HORIZON)
    assert answer["clipped"] == 2 * HORIZON
    page = urlopen(f"http://{address}/metrics").read().decode()
    assert f"eyehand_clipped_actions_total {2.0 * HORIZON}" in page


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("hello", "a message must be msgpack in bytes"),
        (b"", "not msgpack"),
        (msgpack.packb([1]), "a map with names"),
        (pack({}), "lacks 'prompt'"),
        (pack({"__ctrl__": "explode"}), "'episode_start' or 'episode_end'"),
        (pack({"__ctrl__": np.zeros(2)}), "Got 'ndarray'"),
        ({"prompt": "be no number"}, "not finite: none are sent"),
        ({"prompt": "lose a robot"}, "the policy failed: ValueError('it returned (0, 4, 3) for 1"),
        ({"prompt": "lose a number"}, "returned actions of 2 numbers instead of 3: none are sent"),
        ({"prompt": " "}, "must have at least one word"),
        ({"prompt": "open " * 9000}, "at most 500 characters. Got 45000"),
        ({"prompt": "fail"}, "the policy failed: RuntimeError"),
        ({"prompt": "refuse"}, "the policy failed: InputError"),
    ],
)
def test_what_cannot_be_answered_gets_a_reason_and_changes_nothing(
    message: str | bytes, said: str, serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo()
    _, address = serve(policy)
    with websockets.sync.client.connect(f"ws://{address}") as socket:
        socket.recv()
        socket.send(pack(observation(**message)) if isinstance(message, dict) else message)
        answer = socket.recv(timeout=5)
        assert isinstance(answer, str)
        assert said in answer
        socket.send(pack(observation()))
        assert isinstance(socket.recv(timeout=5), bytes)
    assert 'outcome="refused"} 1.0' in urlopen(f"http://{address}/metrics").read().decode()


def test_a_message_that_is_too_long_ends_its_connection_and_no_other(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo(), bounds=Bounds(message_bytes=2000))
    with connected(address) as other:
        with websockets.sync.client.connect(f"ws://{address}") as socket:
            socket.recv()
            socket.send(bytes(3000))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=5)
        assert "actions" in other.infer(observation())


def test_a_new_episode_and_a_lost_client_are_forgotten(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo()
    server, address = serve(policy)
    with connected(address) as connection:
        connection.begin()
        assert policy.forgotten == [0]
        connection.end()
    deadline = time.monotonic() + 5
    while server.sessions and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    with connected(address) as connection:
        connection.infer(observation())
        assert policy.calls[-1] == [1]
    assert policy.forgotten[:2] == [0, 0]


def test_the_watchdog_stops_a_silent_episode_until_another_begins(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo()
    _, address = serve(policy)
    with connected(address) as connection:
        connection.begin(silence=0.05)
        threading.Event().wait(0.6)
        assert policy.forgotten == [0, 0]
        with pytest.raises(InputError, match=r"stopped after 0\.05 s of silence"):
            connection.infer(observation())
        assert policy.calls == []
        connection.begin(silence=5.0)
        assert "actions" in connection.infer(observation())
    assert (
        "eyehand_stopped_episodes_total 1.0" in urlopen(f"http://{address}/metrics").read().decode()
    )


def test_a_stale_observation_gets_no_motion(serve: Serve, observation: Make, echo: Make) -> None:
    policy = echo()
    _, address = serve(policy, max_age_ms=200.0)
    with connected(address) as connection:
        connection.infer(observation(__time__=1000.0))
        with pytest.raises(InputError, match="the observation is stale"):
            connection.infer(observation(__time__=1.0))
    assert len(policy.calls) == 1


def test_more_clients_than_taken_are_refused(serve: Serve, echo: Make) -> None:
    _, address = serve(echo(), most_clients=1)
    with connected(address):
        with pytest.raises(InputError, match="no policy server answers"):
            PolicyConnection(f"ws://{address}")
        assert "OK" in urlopen(f"http://{address}/healthz").read().decode()


def test_with_a_token_nobody_comes_in_without(serve: Serve, observation: Make, echo: Make) -> None:
    _, address = serve(echo(), token="secret")
    for token in (None, "wrong"):
        with pytest.raises(InputError, match="no policy server answers"):
            PolicyConnection(f"ws://{address}", token=token)
    with connected(address, token="secret") as connection:
        assert "actions" in connection.infer(observation())
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"http://{address}/metrics")
    allowed = Request(f"http://{address}/metrics", headers={"Authorization": "Api-Key secret"})
    assert b"eyehand_requests_total" in urlopen(allowed).read()


def test_a_page_of_another_site_cannot_talk_through_its_visitor(serve: Serve, echo: Make) -> None:
    _, address = serve(echo())
    with pytest.raises(InvalidStatus):
        websockets.sync.client.connect(f"ws://{address}", origin="http://evil.example")  # type: ignore[arg-type]


def test_numbers_that_are_none_are_said_and_the_episode_goes_on(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo()
    _, address = serve(policy)
    with connected(address) as connection:
        connection.begin()
        for _ in range(2):
            with pytest.raises(InputError, match="not finite: none are sent"):
                connection.infer(observation(prompt="be no number"))
            assert np.isfinite(connection.infer(observation())["actions"]).all()
        assert policy.forgotten == [0]  # at its beginning


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_served(serve: Serve, observation: Make, echo: Make) -> None:
    _, address = serve(echo(), host="::1")
    assert address.startswith("[::1]:")
    with connected(address) as connection:
        assert "actions" in connection.infer(observation())
    origin = {"Origin": f"http://{address}"}
    with urlopen(Request(f"http://{address}/metrics", headers=origin)) as answer:
        assert b"eyehand_clients" in answer.read()
    with pytest.raises(HTTPError, match="400"):
        urlopen(Request(f"http://{address}/healthz", headers={"Host": "[::2]"}))


@pytest.mark.parametrize("host", ["", "[::1]"])
def test_a_host_that_is_none_is_said_in_one_sentence(host: str) -> None:
    with pytest.raises(InputError, match="--host must be an address such as"):
        ServeConfig(host=host, token="secret")


@pytest.mark.parametrize(
    "host", ["999.1.1.1", "x" * 300, "no host", "::ffff:1", "192.0.2.1", "a\0"]
)
def test_an_address_that_is_not_of_this_machine_is_said_in_one_sentence(host: str) -> None:
    with pytest.raises(InputError, match=r"cannot listen on .*--host"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "robot.example"])
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    with pytest.raises(InputError, match=rf"--host {host} can be reached from other machines"):
        ServeConfig(host=host)
    check_exposure(host, "secret")
    for local in ("127.0.0.1", "localhost", "::1"):
        check_exposure(local, None)


def test_an_address_in_use_is_refused_in_one_sentence() -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("headers", "status"), [({}, 200), ({"Host": "evil.example"}, 400)])
def test_other_names_of_this_machine_are_refused(
    serve: Serve, echo: Make, headers: dict[str, str], status: int
) -> None:
    """DNS rebinding: a page elsewhere gives its own name this machine's address."""
    _, address = serve(echo())
    request = Request(f"http://{address}/healthz", headers=headers)
    if status == 200:
        with urlopen(request) as answer:
            assert answer.read() == b"OK\n"
    else:
        with pytest.raises(HTTPError, match=str(status)):
            urlopen(request)


def hostile(random: Random, valid: list[bytes]) -> bytes:
    """Return a message as an attacker might write it: damaged, random, deep, wide or huge."""
    whole = bytearray(random.choice(valid))
    match random.randrange(7):
        case 0:  # some bytes are others
            for _ in range(random.choice([1, 2, 8, 64])):
                whole[random.randrange(min(len(whole), 120))] = random.randrange(256)
        case 1:
            del whole[random.randrange(len(whole)) :]
        case 2:  # a part is there twice, or missing
            start, length = random.randrange(len(whole)), random.randrange(40)
            whole[start : start + length] = whole[start : start + length] * random.choice([0, 2])
        case 3:
            whole = bytearray(random.randbytes(random.randrange(2000)))
        case 4:
            container = random.choice([b"\x91", b"\x81\xa1x", b"\xdc\x00\x01"])
            whole = bytearray(container * random.choice([1, 15, 20, 5000]) + b"\xc0")
        case 5:  # counts that are much larger than the message
            kind = random.choice([b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9", b"\xdc", b"\xde"])
            whole = bytearray(b"\x81\xa1x" + kind + random.randbytes(random.randrange(5)))
        case 6:  # many small values
            value = random.choice([b"\x80", b"\x90", b"\xa0", b"\xc0", b"\xc4\x00", b"\x91\xc0"])
            many = random.choice([10, 300, 16_000])
            whole = bytearray(b"\x81\xa1x\xdc" + many.to_bytes(2, "big") + value * many)
    return bytes(whole)


def fuzz(serve: Serve, observation: Make, echo: Make, *, messages: int) -> None:
    """Whatever one client sends, it hears a reason or an answer, and another client is served."""
    server, address = serve(echo())
    random, process = Random(0), psutil.Process()
    healthy = observation((0.1, 0.2, 0.3))
    valid = [pack(one) for one in (healthy, {"__ctrl__": "episode_start", "__silence__": 9.0})]
    outcomes = Counter[type]()
    with (
        connected(address) as witness,
        websockets.sync.client.connect(f"ws://{address}", compression=None) as attacker,
    ):
        attacker.recv(10)
        before = process.memory_info().rss
        for number in range(messages):
            attacker.send(hostile(random, valid))
            answer = attacker.recv(10)
            outcomes[type(answer)] += 1
            if isinstance(answer, str):
                assert 20 < len(answer) < 500, answer
            else:
                keys = set(unpack(answer))
                assert keys in ({"status"}, {"actions", "clipped", "server_timing"})
            if number % 100 == 0:
                actions = witness.infer(healthy)["actions"]
                np.testing.assert_allclose(actions, [[0.1, 0.2, 0.3]] * HORIZON, rtol=1e-6)
                assert process.memory_info().rss - before < 50e6
        assert len(server.sessions) == 2
    assert outcomes[str] > messages / 2
    assert outcomes[bytes] > messages / 100


def test_bad_messages_are_answered_and_change_nothing(
    serve: Serve, observation: Make, echo: Make
) -> None:
    fuzz(serve, observation, echo, messages=300)


@pytest.mark.slow
def test_ten_thousand_bad_messages(serve: Serve, observation: Make, echo: Make) -> None:
    fuzz(serve, observation, echo, messages=10_000)


def test_refused_messages_of_all_clients_take_turns(serve: Serve, echo: Make) -> None:
    """So that no number of clients that send garbage takes the time of those that do not."""
    _, address = serve(echo())
    begun = time.monotonic()

    def flood() -> None:
        with websockets.sync.client.connect(f"ws://{address}") as socket:
            socket.recv(5)
            for _ in range(20):
                socket.send(b"\xc1")
                assert "not msgpack" in socket.recv(5)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(flood) for _ in range(4)]:
            done.result()
    assert time.monotonic() - begun > 76 * REFUSED_SECONDS


def test_a_long_message_is_read_beside_the_loop(
    serve: Serve, observation: Make, echo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noting(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name.split("_")[0])
        return read_observation(*arguments)

    monkeypatch.setattr(server_module, "read_observation", noting)
    _, address = serve(echo())
    with connected(address) as connection:
        connection.infer(observation())
        connection.infer(observation(**{"observation/image": np.zeros((99, 99, 3), np.uint8)}))
    assert [name == "reader" for name in threads] == [False, True]


def test_what_was_closed_is_counted(serve: Serve, echo: Make) -> None:
    _, address = serve(echo(), patience=Patience(first=0.2))
    with websockets.sync.client.connect(f"ws://{address}") as idle:
        idle.recv(5)
        with pytest.raises(ConnectionClosed):
            idle.recv(5)
    page = urlopen(f"http://{address}/metrics").read().decode()
    assert 'eyehand_closed_connections_total{reason="idle"} 1.0' in page
