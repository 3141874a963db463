"""What fits is passed on as it is; what does not is refused in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eyehand.functional.wire import pack
from eyehand.serving.observation import (
    Bounds,
    PolicyInterface,
    longest_message,
    read_observation,
    stack,
    usual_message,
)
from eyehand.types import InputError

Make = Callable[..., Any]


def test_what_fits_is_passed_on(interface: PolicyInterface, observation: Make) -> None:
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    seen = read_observation(observation(**{"observation/image": picture}), interface, Bounds())
    np.testing.assert_array_equal(seen.image["front"], picture)
    assert seen.state.dtype == np.float32
    assert seen.instruction == "open the drawer"


def test_several_cameras_have_names(interface: PolicyInterface, observation: Make) -> None:
    two = replace(interface, cameras=("left", "right"))
    assert two.picture_keys == {"left": "observation/left", "right": "observation/right"}
    message = observation()
    message["observation/left"] = message.pop("observation/image")
    with pytest.raises(InputError, match="lacks 'observation/right'"):
        read_observation(message, two, Bounds())


def test_a_larger_picture_is_scaled_by_means(interface: PolicyInterface, observation: Make) -> None:
    large = np.zeros((16, 32, 3), np.uint8)
    large[:2, :4] = 100  # one pixel of the small one
    seen = read_observation(observation(**{"observation/image": large}), interface, Bounds())
    assert seen.image["front"].shape == (8, 8, 3)
    assert seen.image["front"][0, 0].tolist() == [100, 100, 100]
    assert seen.image["front"].sum() == 300


def test_an_empty_sentence_means_that_there_is_none(
    interface: PolicyInterface, observation: Make
) -> None:
    assert read_observation(observation(prompt=""), interface, Bounds()).instruction == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": " \n"}, "'prompt' must have at least one word. Got ' \\\\n'"),
        ({"prompt": "?! ..."}, "must have at least one word. Got '\\?! ...'"),
        ({"prompt": "🙂🙃"}, "must have at least one word"),
        ({"prompt": "open\x00 it"}, r"can be printed. Got '\\x00'"),
        ({"prompt": "open \x1b[2J it"}, r"can be printed. Got '\\x1b'"),
        ({"prompt": "open \ud800 it"}, r"can be printed. Got '\\ud800'"),
        ({"prompt": "open " * 20_000}, "at most 500 characters. Got 100000"),
        ({"prompt": b"open"}, "'prompt' must be a text"),
        ({"prompt": 7}, "'prompt' must be a text"),
        ({"prompt": np.zeros(2)}, "'prompt' must be a text"),
        ({"prompt": "x" * 501}, "at most 500 characters. Got 501"),
        ({"observation/state": [0.1, 0.2, 0.3]}, "must be 3 numbers"),
        ({"observation/state": np.zeros(4, np.float32)}, r"must be 3 numbers. Got an array \(4,\)"),
        ({"observation/state": np.zeros((1, 3), np.float32)}, "must be 3 numbers"),
        ({"observation/state": np.array([0, np.nan, 0])}, "must be finite numbers"),
        ({"observation/state": np.array([0, np.inf, 0])}, "must be finite numbers"),
        ({"observation/state": np.array([True, False, True])}, "must be finite numbers"),
        ({"observation/image": np.zeros((8, 8, 3), np.float32)}, "must be a uint8 picture"),
        ({"observation/image": np.zeros((3, 8, 8), np.uint8)}, "must be a uint8 picture"),
        ({"observation/image": np.zeros((8, 8), np.uint8)}, "must be a uint8 picture"),
        ({"observation/image": np.zeros((0, 8, 3), np.uint8)}, "must be a uint8 picture"),
        ({"observation/image": np.zeros((8, 1025, 3), np.uint8)}, "at most 1024 pixels"),
        ({"observation/image": "picture"}, "must be a uint8 picture"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, object], said: str, interface: PolicyInterface, observation: Make
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_observation(observation(**changes), interface, Bounds())
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("sentence", ["打开抽屉", "7", "Öffne\tdie Schublade!\n", "xyzzy plugh"])
def test_a_sentence_of_any_script_passes(
    sentence: str, interface: PolicyInterface, observation: Make
) -> None:
    seen = read_observation(observation(prompt=sentence), interface, Bounds())
    assert seen.instruction == sentence


def test_the_longest_message_follows_from_the_interface(
    interface: PolicyInterface, observation: Make
) -> None:
    two, bounds = replace(interface, cameras=("left", "right")), Bounds(image_side=100)
    message = observation(prompt="x" * 500)
    del message["observation/image"]
    message |= dict.fromkeys(two.picture_keys.values(), np.zeros((100, 100, 3), np.uint8))
    read_observation(message, two, bounds)
    assert len(pack(message)) < longest_message(two, bounds) < len(pack(message)) + 20_000
    small = dict.fromkeys(two.picture_keys.values(), np.zeros((8, 8, 3), np.uint8))
    assert len(pack(message | small)) < usual_message(two, bounds) < 20_000
    assert longest_message(two, Bounds(message_bytes=99)) == 99
    with pytest.raises(InputError, match=r"--bounds\.image-side must be at least 1. Got 0"):
        Bounds(image_side=0)


@pytest.mark.parametrize("key", ["prompt", "observation/state", "observation/image"])
def test_what_is_missing_is_named(key: str, interface: PolicyInterface, observation: Make) -> None:
    message = observation()
    del message[key]
    with pytest.raises(InputError, match=f"lacks '{key}'; it has"):
        read_observation(message, interface, Bounds())


def test_robots_are_stacked_in_order(interface: PolicyInterface, observation: Make) -> None:
    seen = [
        read_observation(observation((n, 0, 0), prompt=f"go {n}"), interface, Bounds())
        for n in (0.5, 0.25)
    ]
    batch = stack(seen, [7, 3])
    assert batch.state[:, 0].tolist() == [0.5, 0.25]
    assert batch.image["front"].shape == (2, 8, 8, 3)
    assert (batch.instruction, batch.env_ids) == (["go 0.5", "go 0.25"], [7, 3])
