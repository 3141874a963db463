from dataclasses import dataclass

import pytest

from eyehand.policies.heads.limits import check_fields
from eyehand.types import InputError


@dataclass
class Config:
    number: float = 2.0
    widths: tuple[int, ...] = (3,)


@pytest.mark.parametrize(
    ("rule", "right", "wrong", "said"),
    [
        ("counts", 1, 0, ">= 1; got 0"),
        ("even", 4, 3, "even; got 3"),
        ("positive", 0.1, 0.0, "> 0; got 0.0"),
        ("shares", 0.0, 1.0, r"in \[0, 1\); got 1.0"),
        ("shares", 0.9, float("nan"), r"in \[0, 1\); got nan"),
    ],
)
def test_a_number_is_right_or_named(rule: str, right: float, wrong: float, said: str) -> None:
    check_fields(Config(number=right), **{rule: ("number",)})
    with pytest.raises(InputError, match=rf"Config\.number must be {said}"):
        check_fields(Config(number=wrong), **{rule: ("number",)})


@pytest.mark.parametrize("widths", [(), (3, 0)])
def test_widths_are_positive_and_there(widths: tuple[int, ...]) -> None:
    check_fields(Config(), widths=("widths",))
    with pytest.raises(InputError, match=r"Config\.widths must be positive widths"):
        check_fields(Config(widths=widths), widths=("widths",))
