"""Ranges of numbers that a user gives."""

from dataclasses import dataclass
from math import inf, nan

import pytest

from eyehand.types import InputError, check_ranges


@dataclass
class Config:
    image_size: float | tuple[float, ...] | None = 1


@pytest.mark.parametrize("value", [1, 4, 2.5, None, (), (1, 4)])
def test_numbers_in_the_range_pass(value: float | tuple[float, ...] | None) -> None:
    check_ranges(Config(value), image_size=(1, 4))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "got 0."), (5000, "got 5000."), (nan, "got nan."),
        (inf, "got inf."), (-inf, "got -inf."),
        ((1, -1), r"got \(1, -1\)."), (10**80, r"got 10{39}... \(81 characters\)."),
    ],
)  # fmt: skip
def test_others_are_refused_by_flag_range_and_value(
    value: float | tuple[float, ...], said: str
) -> None:
    with pytest.raises(InputError, match=rf"^--image-size must be 1 to 4,096; {said}$"):
        check_ranges(Config(value), image_size=(1, 4096))
    with pytest.raises(InputError, match=rf"^--part.image-size must be 0.5 to 4,096; {said}$"):
        check_ranges(Config(value), prefix="--part.", image_size=(0.5, 4096))
    with pytest.raises(InputError, match=r"^BCZConfig\.image_size must"):
        check_ranges(Config(value), prefix="BCZConfig.", image_size=(1, 4096))
