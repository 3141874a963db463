"""Axes of a comparison: values and ranges are read, combined and suggested; the rest is refused."""

import optuna
import pytest

from eyehand.runs.axis import Axis, cells_of, parse_axis
from eyehand.types import InputError


def test_axes_are_read_and_combined() -> None:
    assert parse_axis("a.b=1,x") == Axis("a.b", ("1", "x"))
    assert parse_axis("a=1e-4..1e-2") == Axis("a", low=1e-4, high=1e-2)
    assert len(cells_of([Axis("a", ("1", "2")), Axis("b", ("3", "4", "5"))])) == 6


@pytest.mark.parametrize("text", ["heads", "=1", "a=", "a=1..x", "a=2..1", "a=-1..1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_axis(text)


def test_a_sampler_stays_within_an_axis() -> None:
    trial = optuna.create_study().ask()
    assert Axis("name", ("x", "y")).suggest(trial) in ("x", "y")
    assert Axis("count", low=4.0, high=6.0).suggest(trial) in ("4", "5", "6")
    assert 1e-4 <= float(Axis("rate", low=1e-4, high=1e-2).suggest(trial)) <= 1e-2
