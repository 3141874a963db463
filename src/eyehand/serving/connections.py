"""Bounds on what one connection can cost the others: uvicorn's server, with less patience.

One thread serves all connections, so whatever a connection can do without an end stops everybody:

- It is read in small portions, and not further while its message is answered or while it does not
  read what it was sent. So neither messages nor the answers to pings pile up.
- Messages that are longer than most are read a few at a time; who sends one waits for its turn.
- New connections are taken one after the other with a pause between them, and only as many as
  there is room for; others wait in the queue of the operating system, where they cost nothing.
- A connection that takes longer than `Patience` allows, for a request, for a message, or for taking
  an answer, is closed; so is one that sends more pings or fragments than any client has reason to.
"""

import asyncio
import math
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from eyehand.types import InputError

READ_BYTES = 65_536
"""Most bytes that are read from a connection before it is the others' turn."""
PIECE_BYTES, LONG_PIECE_BYTES = 1024, 8192
"""Most bytes that are parsed before the connection's counts are looked at again; the second where
the connection is in the middle of a message that is longer."""
MOST_LONG, LONG_BYTES = 4, 32_000_000
"""Most long messages that are read or answered at the same time, and most bytes of them all."""
HEAD_BYTES = 16_384
"""Longest head of a request."""
MOST_FRAGMENTS = 64
"""Most fragments of one message."""
MOST_CONTROLS, CONTROLS_PER_SECOND = 64.0, 10.0
"""Pings and pongs that a connection may send at once, and in the long run."""
MOST_CONNECTIONS = 128
"""Most open connections, those that have not yet asked for anything included."""
ACCEPT_SECONDS = 0.01
"""Shortest time between two new connections."""
CROWDED_SECONDS = 1.0
"""Where others wait for room, a connection that has asked for nothing for as long is closed, and so
is one whose long message takes as long."""


@dataclass(frozen=True)
class Patience:
    """How long the server waits for a client, in seconds, before it closes the connection."""

    request: float = 10.0
    """For a whole request, also the one that opens a WebSocket."""
    message: float = 10.0
    """For a message from its first byte to its last, and for the client to take an answer."""
    first: float = 60.0
    """For the first message after connecting."""
    idle: float = 600.0
    """For the next message."""

    def __post_init__(self) -> None:
        """Check that all are positive."""
        for name, seconds in vars(self).items():
            if not seconds > 0:
                raise InputError(f"--patience.{name} must be above 0 seconds. Got {seconds}.")


class Pace:
    """Lets callers pass one at a time, ``seconds`` apart; a lone caller does not wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the caller's turn."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self.seconds
        if turn > now:
            await asyncio.sleep(turn - now)


class BoundedServer(uvicorn.Server):
    """Serves an application on sockets that listen already, within the bounds of this module.

    Args:
        app: The application. Every HTTP connection has one request.
        message_bytes: Longest message of a WebSocket; a longer one closes its connection.
        usual_bytes: A message that is longer counts as a long one.
        patience: How long it waits for clients.
        on_close: Called with the reason when a connection is closed for taking too long or too
            much: ``no request``, ``crowded``, ``slow message``, ``idle``, ``answer not read``,
            ``pings``, ``fragments`` or ``no message``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        message_bytes: int,
        usual_bytes: int,
        patience: Patience,
        on_close: Callable[[str], object],
    ) -> None:
        http, ws = partial(_Http, server=self), partial(_Socket, server=self)
        config = uvicorn.Config(
            partial(_one_request, app),
            interface="asgi3",
            http=http,  # type: ignore[arg-type]  # a function that makes one serves as well
            ws=ws,  # type: ignore[arg-type]
            ws_max_size=message_bytes,
            ws_per_message_deflate=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            log_level="error",  # a warning for every bad request would fill a disk
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self.patience, self.on_close, self.usual_bytes = patience, on_close, usual_bytes
        self.free = max(1, min(MOST_LONG, LONG_BYTES // message_bytes))
        """Long messages for which there is room."""
        self.long_waiting: deque[_Socket] = deque()
        """Connections whose long message waits for room."""
        self.buffer = memoryview(bytearray(READ_BYTES))
        """Where every connection's bytes arrive; they are copied at once."""
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and begin to take connections."""
        await super().startup(sockets=[])
        self._accepting = [asyncio.create_task(self._accept(sock)) for sock in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that are open."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets=sockets)

    async def on_tick(self, counter: int) -> bool:
        """Close every connection that has taken too long; called ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in self._connections():
            if not connection.dropped and (reason := connection.lateness(now)):
                self.drop(connection, reason)
        return await super().on_tick(counter)

    def drop(self, connection: "_Connection", reason: str) -> None:
        """Close a connection at once, whatever it has still to read."""
        self.on_close(reason)
        connection.dropped = True
        connection.transport.abort()

    def give_room(self) -> None:
        """Let the next long message in, where one is done."""
        self.free += 1
        if self.long_waiting:
            self.free -= 1
            self.long_waiting.popleft().go_on()

    def _connections(self) -> Sequence["_Connection"]:
        return [one for one in self.server_state.connections if isinstance(one, _Connection)]

    async def _accept(self, sock: socket.socket) -> None:
        """Take connections for as long as the server runs."""
        loop, pace = asyncio.get_running_loop(), Pace(ACCEPT_SECONDS)
        sock.setblocking(False)
        while True:
            await pace.turn()
            if len(self.server_state.connections) >= MOST_CONNECTIONS:
                self._make_room(loop.time())
                continue
            try:
                accepted, _ = await loop.sock_accept(sock)
                await loop.connect_accepted_socket(
                    lambda: _Http(
                        server=self,
                        config=self.config,
                        server_state=self.server_state,
                        app_state=self.lifespan.state,
                    ),
                    accepted,
                )
            except OSError:  # it is gone already, or the process has no file descriptor left
                await asyncio.sleep(CROWDED_SECONDS / 10)

    def _make_room(self, now: float) -> None:
        waiting = [one for one in self._connections() if now - one.waits_since > CROWDED_SECONDS]
        if waiting:
            self.drop(min(waiting, key=lambda one: one.waits_since), "crowded")


async def _one_request(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the answer say that the connection ends with it, as if the client had asked for that."""
    if scope["type"] == "http":
        scope["headers"].append(CLOSE_HEADER)
    await app(scope, receive, send)


class _Connection(asyncio.BufferedProtocol):
    """Reads small portions, and notes since when something has been waited for."""

    transport: asyncio.Transport
    data_received: Callable[[bytes], None]

    def __init__(self, *, server: BoundedServer, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.bounds = server
        self.dropped = False
        self.waits_since = math.inf
        """Since when the server waits for a request; infinity while it does not."""
        self.stuck_since = math.inf
        """Since when the client has not read; infinity while it does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.waits_since = asyncio.get_running_loop().time()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.bounds.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.bounds.buffer[:nbytes]))

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = math.inf

    def lateness(self, now: float) -> str | None:
        """Return why the connection must be closed now."""
        patience = self.bounds.patience
        if self.transport.is_closing():
            self.stuck_since = min(self.stuck_since, now)
        if now - self.stuck_since > patience.message:
            return "answer not read"
        if now - self.waits_since > patience.request:
            return "no request"
        return None


class _Http(_Connection, H11Protocol):  # type: ignore[misc]  # both have eof_received, alike
    def lateness(self, now: float) -> str | None:
        if self.cycle is not None:  # the request has come, and is the only one
            self.waits_since = math.inf
        return super().lateness(now)


class _Socket(_Connection, WebSocketsSansIOProtocol):  # type: ignore[misc]  # as above
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._unread = bytearray()
        self._messages = 0
        self._heard = math.inf
        """When the last message came or was answered."""
        self._begun = math.inf
        """When the first part of a message came that is not yet whole."""
        self._has_room = False
        """Whether a long message of this connection is read or answered."""
        self._controls, self._controls_at = MOST_CONTROLS, 0.0

    def lateness(self, now: float) -> str | None:
        patience = self.bounds.patience
        if self.handshake_complete:
            self.waits_since = math.inf
            self._heard = min(self._heard, now)
        crowded = self._has_room and bool(self.bounds.long_waiting)
        if now - self._begun > (CROWDED_SECONDS if crowded else patience.message):
            return "slow message"
        if now - self._heard > (patience.idle if self._messages else patience.first):
            return "idle"
        return super().lateness(now)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._feed()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self in self.bounds.long_waiting:
            self.bounds.long_waiting.remove(self)
        self._leave_room()
        self._unread.clear()  # parser and connection refer to each other and stay for a while
        self.conn.reader.buffer.clear()
        self.frames.clear()

    def _feed(self) -> None:
        """Parse what was read up to the end of a message; the rest waits until that is answered."""
        while self._unread and self._may_read() and not self.transport.is_closing():
            held = len(self.conn.reader.buffer)
            size = LONG_PIECE_BYTES if held > LONG_PIECE_BYTES else PIECE_BYTES
            piece = bytes(self._unread[:size])
            del self._unread[:size]
            super().data_received(piece)
            if self.read_paused:
                return
            held = len(self.conn.reader.buffer) + sum(map(len, self.frames))
            whole = not held and not self.frames
            self._begun = math.inf if whole else min(self._begun, self.loop.time())
            if held > self.bounds.usual_bytes and not self._has_room:
                self._take_room()

    def _take_room(self) -> None:
        if self.bounds.free:
            self.bounds.free -= 1
            self._has_room = True
        else:
            self._begun = math.inf  # its time begins when it gets room
            self.bounds.long_waiting.append(self)
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read the long message that has waited for room."""
        self._has_room, self._begun = True, self.loop.time()
        self._resume()

    def _leave_room(self) -> None:
        if self._has_room:
            self._has_room = False
            self.bounds.give_room()

    def _may_read(self) -> bool:
        return not (
            self.read_paused or self.stuck_since < math.inf or self in self.bounds.long_waiting
        )

    def _resume(self) -> None:
        self._feed()
        if self._may_read():
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """Return the next message; only now is the connection read further."""
        if self.queue.empty():
            self._leave_room()
            self.read_paused = False
            self._resume()
        return await self.queue.get()

    async def send(self, message: Any) -> None:
        await super().send(message)
        self._heard = self.loop.time()
        if self.close_sent:
            self._feed()  # the client's answer to the closing may be there already

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._resume()

    def send_receive_event_to_app(self) -> None:
        super().send_receive_event_to_app()
        self._messages += 1
        self._heard, self._begun = self.loop.time(), math.inf

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MOST_FRAGMENTS:
            self._drop("fragments")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        if self._may_control():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._may_control():
            super().handle_pong(event)

    def _may_control(self) -> bool:
        now = self.loop.time()
        passed = now - self._controls_at
        self._controls = min(MOST_CONTROLS, self._controls + passed * CONTROLS_PER_SECOND) - 1
        self._controls_at = now
        if self._controls < 0:
            self._drop("pings")
        return not self.dropped

    def handle_parser_exception(self) -> None:
        self.bounds.on_close("no message")
        super().handle_parser_exception()

    def _drop(self, reason: str) -> None:
        if not self.dropped:
            self.bounds.drop(self, reason)
