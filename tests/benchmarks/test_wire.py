import io
import struct

import numpy as np
import pytest

from benchmarks.peers.wire import LARGEST, receive, send

ARRAYS = (
    np.array([3, -1], np.int64),
    np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8),
    np.array([[0.1, -np.inf]], np.float32),
    np.zeros((2, 0), np.float32),
)


def test_arrays_come_back_as_they_were() -> None:
    stream = io.BytesIO()
    send(stream, *ARRAYS)
    send(stream, ARRAYS[1][:, ::2].transpose(0, 2, 1, 3))  # not contiguous
    stream.seek(0)
    for got, want in zip(receive(stream), ARRAYS, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    (got,) = receive(stream)
    np.testing.assert_array_equal(got, ARRAYS[1][:, ::2].transpose(0, 2, 1, 3))


@pytest.mark.parametrize("kept", [0, 3, 9, -1])
def test_an_end_within_a_message_is_noticed(kept: int) -> None:
    stream = io.BytesIO()
    send(stream, *ARRAYS)
    with pytest.raises(EOFError, match="the pipe ended after"):
        receive(io.BytesIO(stream.getvalue()[:kept]))


def test_other_numbers_are_not_sent() -> None:
    with pytest.raises(ValueError, match="'float64'"):
        send(io.BytesIO(), np.zeros(2))


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (b'[["object", [1]]]', "'object'"),
        (b'[["uint8", [-1]]]', r"\(-1,\)"),
        (b'[["uint8", [1000000, 1000000]]]', str(LARGEST)),
    ],
)
def test_a_wrong_header_is_refused(header: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        receive(io.BytesIO(struct.pack("<I", len(header)) + header))
