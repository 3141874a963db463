"""One client of the policy server: its episode, its clock, and the watchdog over its silence."""

import math
import time
from collections.abc import Mapping
from typing import Any

from eyehand.types import InputError

CONTROL, SILENCE, TIME = "__ctrl__", "__silence__", "__time__"
"""Keys of a message: what it asks for beside actions, the longest silence of an episode in seconds,
and the client's clock when the picture was taken, in seconds from any moment on."""
START, END = "episode_start", "episode_end"
"""What a message can ask for; openpi has no such messages, and its client sends none."""
LONGEST_SILENCE = 3600.0
"""Most that a client can set, seconds."""


class Session:
    """What the server knows of one client.

    A client that sends nothing for longer than the silence that it set loses its episode: until it
    begins a new one, its observations are answered by an error and get no actions. An observation
    is stale if it was under way for longer than ``max_age`` by the client's own clock; what that
    clock shows is learned from the fastest message so far.

    The number is the policy's ``env_id``; ``max_age`` is in seconds.

    Example:
        >>> session = Session(0, max_age=0.5)
        >>> session.begin({"__silence__": 2.0}, now=10.0)
        >>> session.check({}, now=11.0)
        >>> session.is_silent(now=14.0)
        True
    """

    def __init__(self, number: int, *, max_age: float) -> None:
        self.number, self.max_age = number, max_age
        self.silence: float | None = None
        self.stopped = False
        self._heard = time.monotonic()
        self._offset = math.inf

    def begin(self, message: Mapping[str, Any], *, now: float) -> None:
        """Begin an episode.

        Raises:
            InputError: If the silence is not a number of seconds.
        """
        silence = message.get(SILENCE)
        if silence is not None and not (
            isinstance(silence, int | float) and 0 < silence <= LONGEST_SILENCE
        ):
            raise InputError(
                f"{SILENCE!r} must be a number of seconds up to {LONGEST_SILENCE:g}. "
                f"Got {silence!r:.40}."
            )
        self.silence, self.stopped, self._heard = silence, False, now

    def end(self) -> None:
        """End the episode; from now on the client may be silent."""
        self.silence, self.stopped = None, False

    def is_silent(self, *, now: float) -> bool:
        """Return whether the watchdog must stop the episode now; True once per episode."""
        if self.silence is None or self.stopped or now - self._heard <= self.silence:
            return False
        self.stopped = True
        return True

    def check(self, message: Mapping[str, Any], *, now: float) -> None:
        """Note that an observation has come, and check its age.

        Raises:
            InputError: If the episode was stopped, or the observation is stale.
        """
        self.is_silent(now=now)
        if self.stopped:
            raise InputError(
                f"the episode was stopped after {self.silence:g} s of silence: send "
                f"{CONTROL!r}: {START!r} to begin another."
            )
        self._heard = now
        sent = message.get(TIME)
        if sent is None:
            return
        if not isinstance(sent, int | float) or not math.isfinite(sent):
            raise InputError(f"{TIME!r} must be the client's clock in seconds. Got {sent!r:.40}.")
        self._offset = min(self._offset, now - sent)
        age = now - sent - self._offset
        if age > self.max_age:
            raise InputError(
                f"the observation is stale: {age:.2f} s old, at most {self.max_age:g} are allowed."
            )
