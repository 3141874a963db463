"""Messages come back as they were; what is no message is refused, and asks for no memory."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from eyehand.functional.wire import DTYPES, pack, unpack
from eyehand.types import InputError

NUMBERS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: npst.arrays(
        np.dtype(dtype), npst.array_shapes(min_dims=0, max_dims=4, max_side=5)
    )
)


@given(array=NUMBERS, text=st.text(max_size=20), number=st.integers(-(2**63), 2**64 - 1))
def test_what_is_packed_comes_back(array: np.ndarray, text: str, number: int) -> None:
    message = {"array": array, "nested": {"text": text}, "list": [number, None, True]}
    back = unpack(pack(message))
    assert back["array"].dtype == array.dtype
    np.testing.assert_array_equal(back["array"], array)
    assert back["nested"] == {"text": text}
    assert back["list"] == [number, None, True]


def test_numpy_numbers_come_back() -> None:
    back = unpack(pack({"one": np.float32(0.1), "two": np.bool_(True)}))
    assert back == {"one": np.float32(0.1), "two": np.bool_(True)}
    assert isinstance(back["one"], np.float32)


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack({"x": np.zeros(3)}))["x"][0] = 1


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
def test_noise_is_refused_or_a_message(data: bytes) -> None:
    try:
        message = unpack(data)
    except InputError:
        return
    assert isinstance(message, dict)


@given(data=st.data())
def test_a_truncated_message_is_refused(data: st.DataObject) -> None:
    whole = pack({"x": np.arange(12.0).reshape(3, 4), "prompt": "open the drawer"})
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError, match=r"not msgpack|a message is a map"):
        unpack(whole[:cut])


def array(**changes: object) -> bytes:
    """Return a message whose array is described wrongly."""
    described = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]} | changes
    return msgpack.packb({"x": {key.encode(): value for key, value in described.items()}})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not msgpack"),
        (pack({"x": 1}) + b"\x00", "ExtraData"),
        (msgpack.packb([1, 2]), "a map with names as keys. Got list"),
        (msgpack.packb({1: 2}), "not msgpack|a map with names"),
        (msgpack.packb({"x": msgpack.ExtType(3, b"evil")}), "not msgpack"),
        (array(dtype="|O"), "numbers are of the types"),
        (array(dtype="<M8[s]"), "numbers are of the types"),
        (array(dtype="f4"), "numbers are of the types"),
        (array(dtype=7), "numbers are of the types"),
        (array(shape=[3]), "is not 8 bytes"),
        (array(shape=[-2]), "a shape is up to 5 numbers"),
        (array(shape=[1 << 40, 1 << 40]), "is not 8 bytes"),
        (array(shape=[1, 1, 1, 1, 1, 2]), "a shape is up to 5 numbers"),
        (array(shape="2"), "a shape is up to 5 numbers"),
        (array(data=[1, 2]), "the data of an array are bytes"),
        (b"\x91" * 5000 + b"\x00", "more than 16 levels deep"),
        (b"\xdd\xff\xff\xff\xff", "more than 100000 entries"),
        (b"\xdf\xff\xff\xff\xff", "more than 100000 entries"),
        (b"\xc6\xff\xff\xff\xff", "not msgpack"),
    ],
)
def test_what_is_no_message_is_refused_in_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        unpack(data)
    assert len(str(refused.value)) < 400


def number(data: object) -> bytes:
    """Return a message with a numpy number whose data are something else."""
    return msgpack.packb({"x": {b"__npgeneric__": True, b"data": data, b"dtype": "<f8"}})


@pytest.mark.parametrize("data", [[1.0, 2.0], "7", None, {"a": 1}])
def test_a_number_is_one_number(data: object) -> None:
    with pytest.raises(InputError, match="the data of a number is one number"):
        unpack(number(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xa1x\xdd" + (4_000_000).to_bytes(4, "big") + b"\x80" * 4_000_000,
        b"\x81\xa1x\xdc\x01\x90" + (b"\xdc\x27\x10" + b"\x80" * 10_000) * 400,
        b"\x81\xa1x\xdc\x01\x90" + (b"\xdc\x27\x10" + b"\x90" * 10_000) * 400,
        b"\x81\xa1x" + (b"\xdc\x03\xe8" + b"\xc0" * 999) * 1000,
    ],
    ids=["one list of maps", "lists of maps", "lists of lists", "full lists in full lists"],
)
def test_entries_are_counted_over_the_whole_message_before_any_is_made(data: bytes) -> None:
    """4 MB of empty maps were 270 MB of dictionaries and a quarter of a second."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"more than (256 entries|16 levels)"):
            unpack(data, most_items=256)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@settings(max_examples=40)
@given(
    value=st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_the_outline_counts_what_the_decoder_makes(value: object) -> None:
    def entries(of: object) -> int:
        if isinstance(of, dict):
            return sum(2 + entries(inner) for inner in of.values())
        return sum(1 + entries(inner) for inner in of) if isinstance(of, list) else 0

    message, count = {"x": value}, 2 + entries(value)
    data = msgpack.packb(message)
    try:
        assert repr(unpack(data, most_items=count)) == repr(message)
    except InputError as refused:
        assert "levels deep" in str(refused)  # noqa: PT017
        return
    with pytest.raises(InputError, match=f"more than {count - 1} entries"):
        unpack(data, most_items=count - 1)


def test_objects_are_never_packed() -> None:
    with pytest.raises(TypeError, match="cannot be sent: ndarray"):
        pack({"x": np.array([object()])})
