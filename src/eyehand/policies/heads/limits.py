"""Ranges of the numbers in a head's config; an error names the field, the range and the value."""

from collections.abc import Callable
from typing import Any

from eyehand.types import InputError


def check_fields(
    config: Any,
    *,
    counts: tuple[str, ...] = (),
    even: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
    widths: tuple[str, ...] = (),
) -> None:
    """Check that fields of ``config`` are in their ranges.

    Args:
        config: A dataclass.
        counts: Fields that must be at least 1.
        even: Fields that must be even.
        positive: Fields that must be above 0.
        shares: Fields that must be in [0, 1).
        widths: Fields that must be tuples of numbers that are at least 1, and not empty.

    Raises:
        InputError: For the first field that is wrong.
    """
    rules: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
        (counts, lambda value: value >= 1, ">= 1"),
        (even, lambda value: value % 2 == 0, "even"),
        (positive, lambda value: value > 0, "> 0"),
        (shares, lambda value: 0 <= value < 1, "in [0, 1)"),
        (widths, lambda value: bool(value) and min(value) >= 1, "positive widths"),
    )
    for names, holds, wanted in rules:
        for name in names:
            value = getattr(config, name)
            if not holds(value):
                raise InputError(f"{type(config).__name__}.{name} must be {wanted}; got {value}.")
