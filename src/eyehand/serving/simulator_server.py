"""A server of simulators: every client gets an environment of a suite over the network.

Run beside a simulator that eyehand cannot import, on this machine or another:

    from eyehand.serving.simulator_server import serve_suite
    serve_suite(SUITE, port=8001)

and name it elsewhere as ``--suite ws://HOST:8001``. The messages are those of
:mod:`eyehand.envs.remote_suite`.
"""

import hmac
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
from eyehand.serving.server import check_exposure
from eyehand.types import InputError

MESSAGE_BYTES = 65_536
"""Longest message of a client: an action and the pictures that it wants."""
MOST_PIXELS = 1024
"""Longest side of a picture that is drawn for a client."""


def suite_server(
    suite: Suite, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> Server:
    """Return a server that listens; ``serve_forever`` runs it, ``shutdown`` ends it.

    Args:
        suite: What is served.
        host: Address to listen at; others than this machine's own need a token.
        port: Port to listen at; 0 takes any that is free.
        token: What clients must send as ``Authorization: Api-Key TOKEN``.

    Raises:
        InputError: If the address can be reached from elsewhere and there is no token.
    """
    check_exposure(host, token)

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
            for data in connection:
                connection.send(client.answer(data))
        except ConnectionClosed:
            pass  # the client has disconnected
        finally:
            client.close()

    return serve(talk, host, port, compression=None, max_size=MESSAGE_BYTES, process_request=admit)


def serve_suite(
    suite: Suite, *, host: str = "127.0.0.1", port: int = 8001, token: str | None = None
) -> None:
    """Serve a suite until Ctrl-C; the arguments are those of `suite_server`."""
    with suite_server(suite, host=host, port=port, token=token) as server:
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
            return pack(self._do(unpack(data)))
        except InputError as error:
            return str(error)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            return f"the simulator cannot do that: {error!r:.200}"

    def close(self) -> None:
        if self.env is not None:
            self.env.close()

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
