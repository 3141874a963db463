"""The server of simulators: who may connect, and what is answered to what it cannot do."""

import threading
from collections.abc import Iterator
from socket import create_connection
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from eyehand.envs.remote_suite import remote_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.functional.wire import pack, unpack
from eyehand.serving import simulator_server
from eyehand.serving.simulator_server import suite_server
from eyehand.types import InputError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two ways, served on this machine."""
    with suite_server(TWO_WAYS) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


def test_bytes_that_are_no_message_are_answered(address: str) -> None:
    with connect(address, compression=None) as socket:
        socket.recv()
        for message in ("text", b"\xff\xff", b"\x80"):
            socket.send(message)
            assert isinstance(socket.recv(), str)


RESET = {"do": "reset", "task": "two-ways", "seed": 3, "quality": "fast", "disturbance": {}}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"do": "step", "action": np.zeros(2)}, "no episode has begun: reset first"),
        ({**RESET, "task": "reach", "cameras": {}}, "no task of two-ways 'reach'"),
        ({**RESET, "cameras": {"top": 2000}}, "top takes 1 to 1024 pixels a side. Got 2000"),
        (RESET, "the simulator cannot do that: KeyError('cameras')"),
        ({"do": "reset"}, "the simulator cannot do that: KeyError"),
        ({}, "no episode has begun"),
        ({**RESET, "cameras": {}, "seed": [1]}, "the simulator cannot do that: TypeError"),
        ({**RESET, "cameras": {}, "seed": -1}, "the simulator cannot do that"),
        ({**RESET, "cameras": {}, "disturbance": {"wind": 1}}, "the simulator cannot do that"),
        ({**RESET, "cameras": 7}, "the simulator cannot do that: TypeError"),
        ({"x": [[]] * 300}, "more than 256 entries"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_next_message_is_answered(
    address: str, message: dict[str, Any], said: str
) -> None:
    with connect(address, compression=None) as socket:
        socket.recv()
        socket.send(pack(message))
        assert said in socket.recv()
        socket.send(pack({**RESET, "cameras": {"top": 8}}))
        answer = socket.recv()
        assert isinstance(answer, bytes)
        assert unpack(answer)["image"]["top"].shape == (8, 8, 3)
        socket.send(pack({"do": "dance"}))
        assert "the simulator does not know 'dance'" in socket.recv()


def test_a_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--token"):
        suite_server(TWO_WAYS, host="0.0.0.0")
    with suite_server(TWO_WAYS, token="secret") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with pytest.raises(InputError, match="401"):
            remote_suite(address)
        monkeypatch.setenv("EYEHAND_TOKEN", "secret")
        assert remote_suite(address).name == "two-ways"
        server.shutdown()


def test_a_page_in_a_browser_is_refused(address: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="http://elsewhere.example")


def test_an_environment_that_could_not_be_made_is_not_used_again(address: str) -> None:
    """After a failed change of settings, the closed environment was kept for the old ones."""
    with connect(address, compression=None) as socket:
        socket.recv()
        good, bad = ({**RESET, "cameras": {}, "disturbance": one} for one in ({}, {"wind": 1}))
        for message, kind in ((good, bytes), (bad, str), (good, bytes)):
            socket.send(pack(message))
            assert isinstance(socket.recv(), kind)
        socket.send(pack(bad))
        socket.recv()
        socket.send(pack({"do": "step", "action": np.zeros(2), "cameras": {}}))
        assert "no episode has begun" in socket.recv()


def test_more_clients_than_taken_are_closed_and_silent_ones_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulator_server, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(simulator_server, "OPEN_SECONDS", 0.3)
    with suite_server(TWO_WAYS, most_clients=2) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        address = f"ws://127.0.0.1:{port}"
        with create_connection(("127.0.0.1", port)) as slow, connect(address) as idle:
            idle.recv()
            with pytest.raises(InputError, match="no simulator answers"):
                remote_suite(address)
            assert slow.recv(1) == b""
            with pytest.raises(ConnectionClosed):
                idle.recv(5)
        assert remote_suite(address).name == "two-ways"
        server.shutdown()


def test_an_address_in_use_is_said_in_one_sentence(address: str) -> None:
    with pytest.raises(InputError, match="cannot listen on 127"):
        suite_server(TWO_WAYS, port=int(address.rpartition(":")[2]))
