"""A client's connection to a server of policies or of simulators: one question, one answer."""

from contextlib import ExitStack
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from eyehand.functional.wire import pack, unpack
from eyehand.types import InputError

MOST_SHOWN = 500
"""Most characters of a server's text that are shown."""


class WireConnection:
    """A WebSocket with the messages of `eyehand.functional.wire`; ``first`` is the server's first.

    Args:
        address: Such as ``ws://127.0.0.1:8000``.
        who: What answers there, for sentences to the user.
        token: The server's token, if it asks for one.
        seconds: Longest wait for an answer.
        most_bytes: Longest answer.

    Raises:
        InputError: If no such server answers there.
    """

    def __init__(
        self, address: str, *, who: str, token: str | None, seconds: float, most_bytes: int
    ) -> None:
        self.address, self._who, self._seconds, self._open = address, who, seconds, ExitStack()
        headers = {"Authorization": f"Api-Key {token}"} if token else None
        try:
            self._socket: ClientConnection = self._open.enter_context(
                connect(
                    address,
                    compression=None,
                    max_size=most_bytes,
                    additional_headers=headers,
                    open_timeout=seconds,
                )
            )
            self.first = self._receive()
        except (OSError, WebSocketException, ValueError, InputError) as error:
            self._open.close()
            raise InputError(f"no {who} answers at {address}: {error}.") from error

    def ask(self, /, **message: Any) -> dict[str, Any]:
        """Return the answer to a message.

        Raises:
            InputError: If the message cannot be sent, the server refuses, its answer is no message,
                or the connection is lost; a later answer would belong to this message, so a
                connection whose answer did not come in time is lost too.
        """
        try:
            data = pack(message)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"this cannot be sent to {self.address}: {error!s:.200}.") from error
        try:
            self._socket.send(data)
            return self._receive()
        except (OSError, WebSocketException) as error:
            self.close()
            raise InputError(f"the connection to {self.address} is lost: {error}.") from error

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def _receive(self) -> dict[str, Any]:
        answer = self._socket.recv(self._seconds)
        if isinstance(answer, str):
            shown = "".join(one if one.isprintable() else " " for one in answer[:MOST_SHOWN])
            raise InputError(f"the {self._who} at {self.address} says: {shown}")
        try:
            return unpack(answer)
        except InputError as error:
            raise InputError(
                f"the {self._who} at {self.address} sends what is no message: {error}"
            ) from error
