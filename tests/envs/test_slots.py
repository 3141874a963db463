"""What a worker does with its slots, without a worker."""

from typing import Any

import numpy as np
import pytest

from eyehand.envs.slots import Slots
from eyehand.types import InputError


def test_another_task_begins_in_the_world_as_it_is(lamps: Any) -> None:
    slots = Slots({"top": bytearray(4 * 4 * 3)}, bytearray(2 * 4), 1, lamps.LampsEnv)
    before = lamps.LampsEnv.made
    slots.reset(0, "red", 5)
    assert slots.step(0, np.ones((1, 2), np.float32)).terminated
    assert slots.begin_task(0, "blue").steps == 0
    assert slots.state.tolist() == [[5, 1]]
    assert not slots.step(0, np.zeros((2, 2), np.float32)).ended
    assert slots.state.tolist() == [[5, 3]]
    slots.reset(0, "red", 6)  # the next chain begins with what this slot was made for
    assert (slots.environments[0].task, slots.state.tolist()) == ("red", [[6, 0]])
    assert lamps.LampsEnv.made == before + 1
    slots.reset(0, "blue", 7)
    assert lamps.LampsEnv.made == before + 2


def test_a_task_told_to_what_cannot_be_told_one_is_refused(stand_in: Any) -> None:
    slots = Slots({"near": bytearray(4 * 4 * 3)}, bytearray(4 * 4), 1, stand_in)
    slots.reset(0, "one", 5)
    with pytest.raises(InputError, match=r"the world of 'one' cannot go on with 'two': its env"):
        slots.begin_task(0, "two")
