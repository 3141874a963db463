"""The server of simulators: who may connect, and what is answered to what it cannot do."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from eyehand.envs.remote_suite import remote_suite
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.functional.wire import pack, unpack
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
