"""A server of simulators: every client gets an environment of a suite over the network.

Run beside a simulator that eyehand cannot import, on this machine or another:

    from eyehand.serving.simulator_server import serve_suite
    serve_suite(SUITE, port=8001)

and name it elsewhere as ``--suite ws://HOST:8001``. The messages are those of
:mod:`eyehand.envs.remote_suite`.

Every client has a thread and an environment, so their number is bounded, and so are the bytes and
entries of a message. A client that does not finish its handshake, says nothing for
`IDLE_SECONDS`, or does not answer pings is closed; what it sends is read only after what it sent
before is answered.
"""

import hmac
import socket
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from eyehand.envs.remote_suite import describe_suite
from eyehand.envs.robot_env import Expert, RobotEnv
from eyehand.envs.suite import Suite
from eyehand.functional.wire import pack, unpack
from eyehand.serving.server import check_exposure, listen
from eyehand.types import InputError

MESSAGE_BYTES = 65_536
"""Longest message of a client: an action and the pictures that it wants."""
MOST_PIXELS = 1024
"""Longest side of a picture that is drawn for a client."""
MOST_ITEMS = 256
"""Most entries of a client's message."""
OPEN_SECONDS, IDLE_SECONDS = 10.0, 600.0
"""Longest wait for a client's handshake, and for its next message."""


def suite_server(
    suite: Suite,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    most_clients: int = 32,
) -> Server:
    """Return a server that listens; ``serve_forever`` runs it, ``shutdown`` ends it.

    Args:
        suite: What is served.
        host: Address to listen at; others than this machine's own need a token.
        port: Port to listen at; 0 takes any that is free.
        token: What clients must send as ``Authorization: Api-Key TOKEN``.
        most_clients: Most connections at the same time, those without a handshake included; others
            are closed at once.

    Raises:
        InputError: If the address can be reached from elsewhere and there is no token, or it cannot
            be used.
    """
    check_exposure(host, token)
    sock = listen(host, port)

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        said = request.headers.get("Authorization", "")
        if token and not hmac.compare_digest(said.encode(), f"Api-Key {token}".encode()):
            return connection.respond(401, "a token is needed\n")
        if request.headers.get("Origin"):
            return connection.respond(403, "pages in a browser are not admitted\n")
        return None

    def talk(connection: ServerConnection) -> None:
        connection.send(pack(describe_suite(suite)))
        client = _Client(suite)
        try:
            while True:
                connection.send(client.answer(connection.recv(IDLE_SECONDS)))
        except (ConnectionClosed, TimeoutError):
            pass  # the client has disconnected, or says nothing
        finally:
            client.close()

    server = serve(
        talk,
        sock=sock,
        compression=None,
        max_size=MESSAGE_BYTES,
        max_queue=1,
        open_timeout=OPEN_SECONDS,
        process_request=admit,
    )
    places, handle = threading.BoundedSemaphore(most_clients), server.handler

    def handle_if_there_is_room(accepted: socket.socket, address: Any) -> None:
        has_place = places.acquire(blocking=False)
        if not has_place:
            accepted.shutdown(socket.SHUT_RDWR)  # its handshake ends at once
        try:
            handle(accepted, address)
        finally:
            if has_place:
                places.release()

    server.handler = handle_if_there_is_room
    return server


def serve_suite(
    suite: Suite,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    token: str | None = None,
    most_clients: int = 32,
) -> None:
    """Serve a suite until Ctrl-C; the arguments are those of `suite_server`."""
    with suite_server(
        suite, host=host, port=port, token=token, most_clients=most_clients
    ) as server:
        server.serve_forever()


class _Client:
    """One client: its environment, and the answers to its messages."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.env: RobotEnv | None = None
        self.made_with: tuple[Any, ...] = ()

    def answer(self, data: str | bytes) -> str | bytes:
        """Return the answer to a message, or a text that says what is wrong with it."""
        try:
            if isinstance(data, str):
                raise InputError("a message must be msgpack in bytes. Got text.")
            return pack(self._do(unpack(data, most_items=MOST_ITEMS)))
        except InputError as error:
            return str(error)
        except Exception as error:  # a bug of the simulator must not stop the server
            return f"the simulator cannot do that: {error!r:.200}"

    def close(self) -> None:
        env, self.env, self.made_with = self.env, None, ()
        if env is not None:
            env.close()

    def _do(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message.get("do") == "reset":
            return self._reset(message)
        if self.env is None:
            raise InputError("no episode has begun: reset first.")
        if message["do"] == "step":
            observation, reward, terminated, truncated, info = self.env.step(message["action"])
            return {
                "state": observation["state"],
                "image": self._pictures(message),
                "reward": float(reward),
                "terminated": bool(terminated),
                "truncated": bool(truncated),
                "success": bool(info["success"]),
            }
        if message["do"] == "pictures":
            return {"image": self._pictures(message)}
        if message["do"] == "expert" and isinstance(self.env, Expert):
            return {"action": self.env.expert_action()}
        raise InputError(f"the simulator does not know {message['do']!r:.40}.")

    def _reset(self, message: Mapping[str, Any]) -> dict[str, Any]:
        disturbance = dict(message["disturbance"])
        wanted = (message["task"], message["quality"], sorted(disturbance.items()))
        if wanted != self.made_with:
            self.close()
            self.suite.check_task(message["task"])
            self.env = self.suite.make(
                message["task"],
                cameras={self.suite.camera: 1},
                quality=message["quality"],
                render_observations=False,
                **disturbance,
            )
            self.made_with = wanted
        assert self.env is not None
        observation, _ = self.env.reset(seed=int(message["seed"]))
        return {"state": observation["state"], "image": self._pictures(message)}

    def _pictures(self, message: Mapping[str, Any]) -> dict[str, np.ndarray]:
        assert self.env is not None
        cameras = dict(message["cameras"])
        self.suite.check_cameras(cameras)
        for camera, size in cameras.items():
            if not isinstance(size, int) or not 1 <= size <= MOST_PIXELS:
                raise InputError(f"{camera} takes 1 to {MOST_PIXELS} pixels a side. Got {size!r}.")
        return {name: self.env.picture(name, size=size) for name, size in cameras.items()}
