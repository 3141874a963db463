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
        ("counts", 1, 0, "1 to 65,536; got 0"),
        ("counts", 65_536, 10**30, "1 to 65,536; got 1000000000000000000000000000000"),
        ("layers", 256, 257, "1 to 256; got 257"),
        ("even", 4, 3, "even; got 3"),
        ("positive", 0.1, 0.0, "above 0 and finite; got 0.0"),
        ("positive", 0.1, float("inf"), "above 0 and finite; got inf"),
        ("positive", 0.1, float("nan"), "above 0 and finite; got nan"),
        ("weights", 0.0, -0.1, "at least 0 and finite; got -0.1"),
        ("shares", 0.0, 1.0, r"in \[0, 1\); got 1.0"),
        ("shares", 0.9, float("nan"), r"in \[0, 1\); got nan"),
    ],
)
def test_a_number_is_right_or_named(rule: str, right: float, wrong: float, said: str) -> None:
    check_fields(Config(number=right), **{rule: ("number",)})
    with pytest.raises(InputError, match=rf"Config\.number must be {said}"):
        check_fields(Config(number=wrong), **{rule: ("number",)})


@pytest.mark.parametrize("widths", [(), (3, 0), (-1, 3), (65_537,), (1,) * 257])
def test_widths_are_positive_and_there(widths: tuple[int, ...]) -> None:
    check_fields(Config(), widths=("widths",))
    with pytest.raises(InputError, match=r"Config\.widths must be widths of 1 to 65,536"):
        check_fields(Config(widths=widths), widths=("widths",))
