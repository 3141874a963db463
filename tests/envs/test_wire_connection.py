"""One sentence says which server does not answer."""

import pytest

from eyehand.envs.wire_connection import WireConnection
from eyehand.types import InputError


def test_it_says_what_does_not_answer_and_where() -> None:
    with pytest.raises(InputError, match=r"no kitchen answers at ws://127\.0\.0\.1:1"):
        WireConnection("ws://127.0.0.1:1", who="kitchen", token=None, seconds=1.0, most_bytes=99)
