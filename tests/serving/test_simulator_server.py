"""The server of a suite: who may connect, and what is answered to what is no message."""

import threading
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from eyehand.envs.remote_suite import remote_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.functional.wire import pack
from eyehand.serving.simulator_server import suite_server
from eyehand.types import InputError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
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


def test_what_a_message_lacks_is_answered(address: str) -> None:
    with connect(address, compression=None) as socket:
        socket.recv()
        for message in ({}, {"do": "dance"}, {"do": "reset"}, {"do": "reset", "task": 5}):
            socket.send(pack(message))
            assert isinstance(socket.recv(), str)


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
