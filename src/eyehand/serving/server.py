"""The policy server: openpi's protocol over a WebSocket, many robots, one policy.

The client (openpi-client, or :mod:`eyehand.serving.client`) connects, gets the metadata, and from
then on sends one observation after the other and gets a chunk of actions for each. A message that
cannot be used is answered by a text that says why, and the connection stays open.

``/healthz`` says that the server is up, ``/metrics`` is for Prometheus.

No client can take the others' time: a message has at most as many bytes and entries as an
observation of this policy needs, one client has one message under way, longer messages are decoded
beside the loop, and messages that are refused are read at most `REFUSED_SECONDS` apart, those of
all clients together. What a connection may cost is bounded in :mod:`eyehand.serving.connections`.
"""

import asyncio
import hmac
import ipaddress
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from eyehand.functional.wire import pack, unpack
from eyehand.serving.batcher import Batcher
from eyehand.serving.connections import BoundedServer, Pace, Patience
from eyehand.serving.metrics import Metrics
from eyehand.serving.observation import (
    Bounds,
    PolicyInterface,
    longest_message,
    read_observation,
    usual_message,
)
from eyehand.serving.session import CONTROL, END, START, Session
from eyehand.types import Actor, InputError

CHECK_SECONDS = 0.25
"""Seconds between two checks by the watchdog."""
MOST_ITEMS = 256
"""Most entries of a client's message; an observation of one camera has about twenty."""
REFUSED_SECONDS = 0.005
"""Shortest time between two messages that are refused, of all clients together."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class ServeConfig:
    """Where the server listens, and what it accepts."""

    host: str = "127.0.0.1"
    """Address to listen at; others than this machine's own need a token."""
    port: int = 8000
    """Port to listen at."""
    token: str | None = None
    """What clients must send as ``Authorization: Api-Key TOKEN``."""
    window_ms: float = 5.0
    """Longest wait for other robots' observations, so that one call answers all; milliseconds."""
    most_robots: int = 16
    """Most robots in one call of the policy."""
    most_clients: int = 64
    """Most clients at the same time; more are refused."""
    most_waiting: int = 64
    """Most observations that wait for the policy; more are refused."""
    max_age_ms: float = 1000.0
    """Greatest age, by the client's clock, of an observation that gets actions; milliseconds."""
    bounds: Bounds = field(default_factory=Bounds)
    """Limits of the size of a message."""
    patience: Patience = field(default_factory=Patience)
    """How long it waits for a client."""

    def __post_init__(self) -> None:
        """Check that all numbers are in range, and that an open address has a token."""
        for name in ("most_robots", "most_clients", "most_waiting", "max_age_ms"):
            if not getattr(self, name) > 0:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} must be above 0. Got {getattr(self, name)}.")
        if not 0 <= self.window_ms < 1000:
            raise InputError(f"--window-ms must be in [0, 1000). Got {self.window_ms}.")
        if not 0 <= self.port < 65536:
            raise InputError(f"--port must be in 0 to 65535. Got {self.port}.")
        check_exposure(self.host, self.token)


def check_exposure(host: str, token: str | None) -> None:
    """Raise an `InputError` if other machines can reach an address that has no token."""
    if not host or "[" in host:
        raise InputError(f"--host must be an address such as 127.0.0.1 or ::1. Got {host!r}.")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not token:
        raise InputError(
            f"--host {host} can be reached from other machines: set --token, or listen on "
            "127.0.0.1."
        )


def only_known_hosts(host: str, token: str | None) -> list[Middleware]:
    """Return the middleware that refuses requests to a host name other than this machine's own.

    Another site can make its own name point to this machine (DNS rebinding); requests from its
    page would then look like those of our own page. A token protects from that as well.
    """
    if token:
        return []
    hosts = ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)]


def is_same_site(connection: HTTPConnection) -> bool:
    """Return whether a request comes from our own page, or from a program that is no browser."""
    origin = connection.headers.get("origin")
    return origin is None or origin.split("://")[-1] == connection.headers.get("host")


class PolicyServer:
    """Answers clients by a policy in evaluation mode; its ``app`` is an ASGI application."""

    def __init__(self, policy: Actor, interface: PolicyInterface, config: ServeConfig) -> None:
        self.interface, self.config = interface, config
        self.metrics = Metrics()
        self.sessions: dict[int, Session] = {}
        self.batcher = Batcher(
            policy,
            window=config.window_ms / 1000,
            most=config.most_robots,
            queue=config.most_waiting,
            connected=lambda: len(self.sessions),
        )
        self._numbers = count()
        self._hello = pack(metadata_of(interface))
        self._usual = usual_message(interface, config.bounds)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._refused = Pace(REFUSED_SECONDS)
        self._low = np.array(interface.action_low, np.float32)
        self._high = np.array(interface.action_high, np.float32)
        self.app = Starlette(
            routes=[
                WebSocketRoute("/", self._serve_client),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
            ],
            middleware=only_known_hosts(config.host, config.token),
            lifespan=self._lifespan,
        )

    def web_server(self) -> BoundedServer:
        """Return the server of ``app``, with the bounds of the configuration."""
        return BoundedServer(
            self.app,
            message_bytes=longest_message(self.interface, self.config.bounds),
            usual_bytes=self._usual,
            patience=self.config.patience,
            on_close=lambda reason: self.metrics.closed.labels(reason).inc(),
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.batcher.run()), asyncio.create_task(self._watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._reader.shutdown(wait=False, cancel_futures=True)

    async def _health(self, _: Request) -> Response:
        return PlainTextResponse("OK\n")

    async def _metrics(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return PlainTextResponse("a token is needed\n", status_code=401)
        self.metrics.queue.set(self.batcher.waiting)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _is_allowed(self, connection: HTTPConnection) -> bool:
        """Check the token, and that the request does not come from another site's page."""
        if not is_same_site(connection):
            return False
        if self.config.token is None:
            return True
        said = connection.headers.get("authorization", "")
        return hmac.compare_digest(said.encode(), f"Api-Key {self.config.token}".encode())

    async def _serve_client(self, socket: WebSocket) -> None:
        if not self._is_allowed(socket):
            await socket.close(code=1008, reason="a token is needed, or the page is another site's")
            return
        if len(self.sessions) >= self.config.most_clients:
            await socket.close(code=1013, reason="the server has no room for another client")
            return
        await socket.accept()
        session = Session(next(self._numbers), max_age=self.config.max_age_ms / 1000)
        self.sessions[session.number] = session
        self.metrics.clients.inc()
        try:
            await socket.send_bytes(self._hello)
            while True:
                await self._answer(socket, session, await socket.receive())
        except (WebSocketDisconnect, RuntimeError):
            pass  # it disconnected, maybe while it was answered
        finally:
            del self.sessions[session.number]
            self.metrics.clients.dec()
            await self.batcher.forget(session.number)

    async def _answer(self, socket: WebSocket, session: Session, event: Mapping[str, Any]) -> None:
        """Return the answer to one message: bytes, or a text that says what is wrong with it."""
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        begun = time.perf_counter()
        try:
            data = event.get("bytes")
            if data is None:
                raise InputError("a message must be msgpack in bytes. Got text.")
            answer = await self._reply(session, data, begun)
        except InputError as error:
            self.metrics.requests.labels("refused").inc()
            await socket.send_text(str(error))
            await self._refused.turn()
        else:
            self.metrics.requests.labels("answered").inc()
            await socket.send_bytes(pack(answer))
        self.metrics.latency.observe(time.perf_counter() - begun)

    async def _read(self, data: bytes, function: Callable[[], Result]) -> Result:
        """Call what reads a message: here, or beside the loop if the message is a long one."""
        if len(data) <= self._usual:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self._reader, function)

    async def _reply(self, session: Session, data: bytes, begun: float) -> dict[str, Any]:
        message = await self._read(data, partial(unpack, data, most_items=MOST_ITEMS))
        if CONTROL in message:
            return await self._control(session, message)
        session.check(message, now=time.monotonic())
        seen = await self._read(
            data, partial(read_observation, message, self.interface, self.config.bounds)
        )
        answer = await self.batcher.ask(seen, session.number)
        self.metrics.batch.observe(answer.batch)
        if answer.waited_ms > self.config.max_age_ms:
            raise InputError(
                f"the observation waited {answer.waited_ms:.0f} ms for the policy and is stale."
            )
        if answer.chunk.shape[1] != len(self._low):
            raise InputError(
                f"the policy returned actions of {answer.chunk.shape[1]} numbers instead of "
                f"{len(self._low)}: none are sent."
            )
        if not np.isfinite(answer.chunk).all():
            raise InputError("the policy returned actions that are not finite: none are sent.")
        actions = np.clip(answer.chunk, self._low, self._high)
        clipped = int((actions != answer.chunk).sum())
        self.metrics.clipped.inc(clipped)
        return {
            "actions": actions,
            "clipped": clipped,
            "server_timing": {
                "wait_ms": answer.waited_ms,
                "infer_ms": answer.policy_ms,
                "total_ms": 1000 * (time.perf_counter() - begun),
                "robots": answer.batch,
            },
        }

    async def _control(self, session: Session, message: dict[str, Any]) -> dict[str, Any]:
        wanted = message[CONTROL]
        if not isinstance(wanted, str):  # an array cannot be compared with a text
            wanted = type(wanted).__name__
        if wanted == START:
            session.begin(message, now=time.monotonic())
            await self.batcher.forget(session.number)
        elif wanted == END:
            session.end()
        else:
            raise InputError(f"{CONTROL!r} must be {START!r} or {END!r}. Got {wanted!r:.40}.")
        return {"status": "ok"}

    async def _watch(self) -> None:
        """Stop the episodes of clients that have sent nothing for too long."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for session in list(self.sessions.values()):
                if session.is_silent(now=time.monotonic()):
                    self.metrics.stopped.inc()
                    await self.batcher.forget(session.number)


def metadata_of(interface: PolicyInterface) -> dict[str, Any]:
    """Return the metadata that every client gets first, as values that msgpack can hold."""
    described = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(interface).items()
    }
    return described | {"server": "eyehand", "picture_keys": interface.picture_keys}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; a host with colons is an IPv6 address.

    Raises:
        InputError: If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        ((*_, address), *_) = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        return socket.create_server(address, family=family)
    except (OSError, ValueError) as error:  # ValueError: a name that no network could have
        raise InputError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}): give "
            "an address of this machine as --host, or another --port, 0 for any that is free."
        ) from error


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens, as it is written in an address: ``[::1]:8000``."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(app: Starlette, sock: socket.socket, *, message_bytes: int) -> None:
    """Run an application until Ctrl-C; a longer message closes its connection, silence does not."""
    patience = Patience(first=math.inf, idle=math.inf)
    server = BoundedServer(
        app,
        message_bytes=message_bytes,
        usual_bytes=message_bytes,
        patience=patience,
        on_close=lambda _: None,
    )
    server.run(sockets=[sock])
