"""Clients of a policy server: a policy that runs elsewhere, and chunks that overlap.

A client needs only the server's address. The server may be eyehand's, or any other that speaks
openpi's protocol and takes our names of the fields (:mod:`eyehand.serving.observation`). Messages
about episodes and clocks are sent to eyehand's server only, because others do not know them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from eyehand.envs.wire_connection import WireConnection
from eyehand.serving.observation import PICTURE, PROMPT, STATE
from eyehand.serving.session import CONTROL, END, SILENCE, START, TIME
from eyehand.types import ActionChunk, InputError, Observation

ANSWER_BYTES = 2**24
"""Longest answer of a server, bytes."""
MOST_AT_ONCE = 16
"""Most robots whose requests are under way at the same time."""
MOST_PIXELS, MOST_ACTIONS = 1024, 10_000
"""Longest side of a server's pictures, and of its chunks."""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _is_number(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _are_keys(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(map(_is_name, [*value, *value.values()]))
        and len({STATE, PROMPT, *value.values()}) == 2 + len(value)
    )


METADATA: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "server": ("a name", _is_name),
    "cameras": (
        "a list of names",
        lambda value: isinstance(value, list) and bool(value) and all(map(_is_name, value)),
    ),
    "picture_keys": ("a map of cameras to different fields", _are_keys),
    "image_size": (f"a number from 1 to {MOST_PIXELS}", lambda v: _is_number(v, MOST_PIXELS)),
    "action_dim": ("a number from 1 to 1000", lambda value: _is_number(value, 1000)),
    "checkpoint_sha256": ("a text", _is_name),
}
"""What is read of a server's metadata: each may be missing; else it is as described."""


def check_metadata(address: str, metadata: Mapping[str, Any]) -> None:
    """Check what a server says of its policy.

    Raises:
        InputError: If a field that is relied on is of another kind.
    """
    for name, (description, holds) in METADATA.items():
        if name in metadata and not holds(metadata[name]):
            raise InputError(
                f"the policy server at {address} must say {name!r} as {description}. "
                f"Got {metadata[name]!r:.60}."
            )


def chunk_of(
    answer: Mapping[str, Any], address: str, action_dim: int | None
) -> Float32[np.ndarray, "horizon action"]:
    """Return the chunk in a server's answer.

    Raises:
        InputError: If there is none, or it cannot be executed.
    """
    chunk = answer.get("actions")
    wrong = f"the server at {address} must answer `actions`, floats (horizon, action). "
    if not isinstance(chunk, np.ndarray) or chunk.ndim != 2 or chunk.dtype.kind != "f":
        raise InputError(f"{wrong}Got {chunk!r:.80}.")
    width = chunk.shape[1] if action_dim is None else action_dim
    if not 1 <= len(chunk) <= MOST_ACTIONS or chunk.shape[1] != width or not width:
        raise InputError(
            f"{wrong}This robot takes 1 to {MOST_ACTIONS} actions of {width} numbers. Got an array "
            f"of shape {chunk.shape}."
        )
    if not np.isfinite(chunk).all():
        raise InputError(f"{wrong}All must be finite. Got nan or infinity.")
    return chunk.astype(np.float32)


class PolicyConnection:
    """One robot's connection to a policy server.

    Arguments are those of `WireConnection`; it waits ``timeout`` seconds for an answer.

    Raises:
        InputError: If no policy server answers there, or it describes its policy wrongly.
    """

    def __init__(self, address: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        self._wire = WireConnection(
            address, who="policy server", token=token, seconds=timeout, most_bytes=ANSWER_BYTES
        )
        self.address, self.metadata = address, self._wire.first
        try:
            check_metadata(address, self.metadata)
        except InputError:
            self.close()
            raise

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's answer to one observation.

        Raises:
            InputError: If it refuses, or the connection is lost.
        """
        clock = {TIME: time.monotonic()} if self.is_ours else {}
        return self._wire.ask(**{**clock, **observation})

    def begin(self, *, silence: float | None = None) -> None:
        """Begin an episode; the server forgets the last one.

        After ``silence`` seconds without an observation it stops the episode.
        """
        if self.is_ours:
            self._wire.ask(**{CONTROL: START} | ({} if silence is None else {SILENCE: silence}))

    def end(self) -> None:
        """End the episode."""
        if self.is_ours:
            self._wire.ask(**{CONTROL: END})

    @property
    def is_ours(self) -> bool:
        """Whether the server is eyehand's own."""
        return self.metadata.get("server") == "eyehand"

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()


class RemotePolicy:
    """A policy on a server, called like one in this process; each robot has a `PolicyConnection`.

    The server keeps one episode per connection. ``reset`` frees a robot's connection, and the next
    robot that acts takes it over.

    A connection that the server has closed in the meantime is replaced.

    Args:
        address: Such as ``ws://127.0.0.1:8000``.
        token: The server's token, if it asks for one.
        action_dim: Numbers of an action of the robot; None is what the server says.

    Raises:
        InputError: If no policy server answers there, or it describes its policy wrongly.
    """

    def __init__(
        self, address: str, *, token: str | None = None, action_dim: int | None = None
    ) -> None:
        self.address, self._token = address, token
        first = PolicyConnection(address, token=token)
        self.metadata = first.metadata
        self._action_dim = action_dim or self.metadata.get("action_dim")
        self._free, self._held = [first], dict[int, PolicyConnection]()
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE)

    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the chunks of all robots, which are requested at the same time.

        Raises:
            InputError: If the server refuses, if its answer is not a chunk, or if a generator is
                given, which cannot be sent.
        """
        if generator is not None:
            raise InputError("a policy on a server draws its own noise: leave out the generator.")
        keys = self.metadata.get("picture_keys") or dict.fromkeys(observation.image, PICTURE)
        if unknown := sorted(set(keys) - set(observation.image)):
            raise InputError(
                f"the policy at {self.address} reads cameras that the robot does not have: "
                f"{unknown!s:.200}. It has {sorted(observation.image)}."
            )
        asked: dict[int, Future[dict[str, Any]]] = {}
        for row, env_id in enumerate(observation.env_ids):
            if env_id < 0:
                continue  # a padding row: its actions are not used
            message = {
                **{key: observation.image[camera][row].numpy() for camera, key in keys.items()},
                STATE: observation.state[row].numpy(),
                PROMPT: observation.instruction[row],
            }
            asked[row] = self._threads.submit(self._connection(env_id).infer, message)
        chunks = {
            row: chunk_of(answer.result(), self.address, self._action_dim)
            for row, answer in asked.items()
        }
        shapes = {chunk.shape for chunk in chunks.values()}
        if len(shapes) > 1:
            raise InputError(
                f"the server at {self.address} must answer all robots alike. "
                f"Got chunks of shapes {sorted(shapes)!s:.100}."
            )
        (shape,) = shapes
        rows = [
            chunks.get(row, np.zeros(shape, np.float32)) for row in range(len(observation.env_ids))
        ]
        return torch.from_numpy(np.stack(rows))

    def reset(self, env_ids: Sequence[int]) -> None:
        """End the episodes of these robots, if they have begun."""
        for env_id in env_ids:
            if env_id in self._held:
                self._free.append(self._held.pop(env_id))

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown()
        for connection in [*self._free, *self._held.values()]:
            connection.close()

    def _connection(self, env_id: int) -> PolicyConnection:
        if env_id not in self._held:
            self._held[env_id] = self._begun()
        return self._held[env_id]

    def _begun(self) -> PolicyConnection:
        """Return a connection on which an episode has begun."""
        while self._free:
            connection = self._free.pop()
            try:
                connection.begin()
            except InputError:  # closed by the server, because nothing was sent for too long
                connection.close()
            else:
                return connection
        connection = PolicyConnection(self.address, token=self._token)
        connection.begin()
        return connection


class OverlappedChunks:
    """Acts without pause: the next chunk is requested while the present one is still executed.

    A chunk begins at the moment of its observation. When it arrives, the time of its first actions
    has passed, so these are skipped (Black et al., 2025, real-time chunking,
    https://arxiv.org/abs/2506.07339, the simple form without inpainting).

    Args:
        connection: To the server.
        ahead: The next chunk is requested when this many actions are left.

    Example:
        chunks = OverlappedChunks(connection, ahead=8)
        while True:
            robot.do(chunks.next_action(observe()))  # observe() is called at every control step
    """

    def __init__(self, connection: PolicyConnection, *, ahead: int) -> None:
        self.connection, self.ahead = connection, ahead
        self.waited = 0
        """Steps at which no action was ready, so that they had to wait for a chunk."""
        self._thread = ThreadPoolExecutor(1)
        self._asked: Future[dict[str, Any]] | None = None
        self._asked_at = 0
        self._step = 0
        self._chunk: Float32[np.ndarray, "horizon action"] = np.zeros((0, 0), np.float32)
        self._chunk_at = 0

    def next_action(self, observation: Mapping[str, Any]) -> Float32[np.ndarray, " action"]:
        """Return the action of this control step; wait only if none is ready.

        Raises:
            InputError: If the server refuses, or its answers come too late to act on.
        """
        if self._asked is not None and self._asked.done():
            self._take()
        left = self._chunk_at + len(self._chunk) - self._step
        if left <= self.ahead and self._asked is None:
            self._asked = self._thread.submit(self.connection.infer, dict(observation))
            self._asked_at = self._step
        if left <= 0:
            self.waited += 1
            self._take()
            left = self._chunk_at + len(self._chunk) - self._step
            if left <= 0:
                raise InputError(
                    "the answer took longer than its chunk lasts: ask for chunks earlier "
                    "(`ahead`), or use a faster server."
                )
        action = self._chunk[self._step - self._chunk_at]
        self._step += 1
        return action

    def reset(self, *, silence: float | None = None) -> None:
        """Begin a new episode; a chunk that is still under way is discarded."""
        if self._asked is not None:
            self._asked.exception()
        self._asked = None
        self._chunk = self._chunk[:0]
        self._chunk_at = self._step
        self.connection.begin(silence=silence)

    def _take(self) -> None:
        assert self._asked is not None
        answer, self._asked = self._asked.result(), None
        metadata = self.connection.metadata
        self._chunk = chunk_of(answer, self.connection.address, metadata.get("action_dim"))
        self._chunk_at = self._asked_at
