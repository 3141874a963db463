"""What takes too long or too much is closed, and counted; what others wait for goes on."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import websockets.sync.client
from starlette.types import Receive, Scope, Send

from eyehand.serving import connections
from eyehand.serving.connections import READ_BYTES, BoundedServer, Patience, _Socket
from eyehand.serving.server import listen
from eyehand.types import InputError

USUAL, LONGEST = 1000, 200_000
PATIENT = Patience(request=9.0, message=9.0, first=9.0, idle=9.0)
TEXT, PING = 1, 9
OPENING = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass
class Running:
    """A server that answers every message by its length; a message "wait" waits for `go_on`."""

    port: int = 0
    reasons: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    heard: list[int] = field(default_factory=list)
    server: Any = None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"3")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"OK\n"})
            return
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            said = event.get("text") or event.get("bytes") or b""
            self.heard.append(len(said))
            while said == "wait" and not self.go_on.is_set():
                await connections.asyncio.sleep(0.01)
            await send({"type": "websocket.send", "text": str(len(said))})

    def closed(self, reason: str) -> bool:
        """Wait until a connection is closed for a reason."""
        return until(lambda: reason in self.reasons)

    @property
    def sockets(self) -> list[_Socket]:
        return [one for one in self.server.server_state.connections if isinstance(one, _Socket)]


def until(true: Callable[[], bool]) -> bool:
    """Wait until something is true, 5 seconds at most."""
    deadline = time.monotonic() + 5
    while not true() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return true()


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[tuple[Running, threading.Thread]] = []

    def start(patience: Patience = PATIENT) -> Running:
        running, sock = Running(), listen("127.0.0.1", 0)
        running.port = sock.getsockname()[1]
        running.server = BoundedServer(
            running.app, message_bytes=LONGEST, usual_bytes=USUAL, patience=patience,
            on_close=running.reasons.append,
        )  # fmt: skip
        thread = threading.Thread(target=running.server.run, kwargs={"sockets": [sock]})
        thread.start()
        assert until(lambda: running.server.started)
        started.append((running, thread))
        return running

    yield start
    for running, thread in started:
        running.go_on.set()
        running.server.should_exit = True
        thread.join(timeout=10)


def raw(port: int, data: bytes = OPENING) -> socket.socket:
    """Connect and send bytes; wait for the answer to a whole opening."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.sendall(data)
    if data == OPENING:
        while b"\r\n\r\n" not in sock.recv(4096):
            pass
    return sock


def frame(payload: bytes, *, opcode: int = TEXT, final: bool = True) -> bytes:
    first = bytes([opcode | (0x80 if final else 0)])
    return first + b"\xff" + struct.pack(">Q", len(payload)) + bytes(4) + payload


def is_closed(sock: socket.socket) -> bool:
    """Wait for the end of a connection; whatever comes before it is dropped."""
    with sock:
        try:
            while sock.recv(65_536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True


def ask(port: int, text: str = "hello") -> str | bytes:
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.send(text)
        return client.recv(5)


@pytest.mark.parametrize("part", [b"", b"GET / HT", OPENING[:-2]])
def test_a_request_that_does_not_come_is_not_waited_for(
    run: Callable[..., Running], part: bytes
) -> None:
    running = run(Patience(request=0.2))
    assert is_closed(raw(running.port, part))
    assert running.reasons == ["no request"]


def test_who_says_nothing_is_closed_and_who_speaks_is_not(run: Callable[..., Running]) -> None:
    running = run(Patience(first=0.3, idle=0.9))
    silent = raw(running.port)
    with websockets.sync.client.connect(f"ws://127.0.0.1:{running.port}") as client:
        client.send("hello")
        assert is_closed(silent)
        client.send("again")
        assert [client.recv(5), client.recv(5)] == ["5", "5"]
        assert running.reasons == ["idle"]
        assert until(lambda: running.reasons == ["idle", "idle"])


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (frame(bytes(500))[:-1], "slow message"),
        (frame(b"", final=False), "slow message"),
        (frame(b"", opcode=PING) * 100, "pings"),
        (frame(b"", final=False) + frame(b"", opcode=0, final=False) * 100, "fragments"),
        (frame(bytes(LONGEST + 1))[:1000], "no message"),
        (b"\xff" * 1000, "no message"),
    ],
    ids=["half a message", "one fragment", "pings", "fragments", "too long", "noise"],
)
def test_what_no_client_has_reason_to_do_ends_its_connection(
    run: Callable[..., Running], sent: bytes, reason: str
) -> None:
    running = run(Patience(message=0.3))
    sock = raw(running.port)
    sock.sendall(sent)
    assert is_closed(sock)
    assert running.reasons == [reason]
    assert ask(running.port) == "5"


def test_messages_wait_in_the_network_until_the_one_before_is_answered(
    run: Callable[..., Running],
) -> None:
    running = run()
    sock = raw(running.port)
    sock.sendall(frame(b"wait"))
    assert until(lambda: running.heard == [4])
    sock.setblocking(False)
    many, taken = memoryview(frame(bytes(500)) * 40_000), 0
    (connection,) = running.sockets
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:  # more than the network holds
        try:
            taken += sock.send(many[taken:])
        except BlockingIOError:
            threading.Event().wait(0.01)
    assert taken < len(many)
    assert connection.queue.qsize() <= 2
    assert len(connection._unread) <= READ_BYTES
    assert ask(running.port) == "5"
    running.go_on.set()
    assert until(lambda: len(running.heard) > 100)
    sock.close()


def test_small_messages_that_come_together_are_all_answered(run: Callable[..., Running]) -> None:
    running = run()
    sock = raw(running.port)
    sock.sendall(frame(b"abc") * 300)
    answers = b""
    while len(answers) < 300 * 3:
        answers += sock.recv(4096)
    assert answers == b"\x81\x013" * 300
    sock.close()


def test_a_client_that_does_not_read_is_not_read_and_then_closed(
    run: Callable[..., Running],
) -> None:
    running = run(Patience(message=0.3))
    sock = raw(running.port)
    assert until(lambda: len(running.sockets) == 1)
    (connection,) = running.sockets
    loop = connection.loop
    loop.call_soon_threadsafe(connection.transport.write, bytes(64_000_000))
    assert until(lambda: not connection.transport.is_reading())
    assert running.closed("answer not read")
    assert until(lambda: not running.sockets)
    sock.close()


def test_connections_that_ask_for_nothing_make_room_for_others(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(connections, "CROWDED_SECONDS", 0.1)
    running = run()
    hostile = [raw(running.port, b"GET") for _ in range(8)]
    assert ask(running.port) == "5"
    assert set(running.reasons) == {"crowded"}
    assert len(running.server.server_state.connections) <= 4
    for sock in hostile:
        sock.close()


def test_long_messages_take_turns_and_short_ones_do_not_wait(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_LONG", 1)
    monkeypatch.setattr(connections, "CROWDED_SECONDS", 0.5)
    running = run()
    first = raw(running.port)
    first.sendall(frame(bytes(5000))[:-1])
    assert until(lambda: running.server.free == 0)
    second = raw(running.port)
    second.sendall(frame(bytes(50_000)))
    assert until(lambda: len(running.server.long_waiting) == 1)
    assert ask(running.port) == "5"
    assert running.heard == [5]
    assert second.recv(100) == b"\x81\x0550000"  # after the first had half a second
    assert running.reasons == ["slow message"]
    assert until(lambda: running.server.free == 1)
    first.close()
    second.close()


def test_who_leaves_while_it_waits_for_room_leaves_the_queue(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_LONG", 1)
    running = run()
    first, second = raw(running.port), raw(running.port)
    for sock in (first, second):
        sock.sendall(frame(bytes(5000))[:-1])
    assert until(lambda: len(running.server.long_waiting) == 1)
    running.sockets[0].loop.call_soon_threadsafe(running.server.long_waiting[0].transport.abort)
    assert until(lambda: not running.server.long_waiting)
    assert running.server.free == 0
    assert is_closed(second) or is_closed(first)
    first.close()
    second.close()
    assert until(lambda: running.server.free == 1)


def test_an_http_connection_has_one_request(run: Callable[..., Running]) -> None:
    running = run()
    sock = raw(running.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    answer = b""
    while data := sock.recv(4096):
        answer += data
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close" in answer.lower()
    sock.close()


@pytest.mark.parametrize("name", ["request", "message", "first", "idle"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_patience_is_a_time(name: str, seconds: float) -> None:
    with pytest.raises(InputError, match=rf"--patience\.{name} must be above 0 seconds. Got"):
        Patience(**{name: seconds})
