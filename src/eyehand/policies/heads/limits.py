"""Ranges of the numbers in a head's config; an error names the field, the range and the value."""

from collections.abc import Callable
from typing import Any

from eyehand.types import InputError

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "counts": (lambda value: value >= 1, ">= 1"),
    "even": (lambda value: value % 2 == 0, "even"),
    "positive": (lambda value: value > 0, "> 0"),
    "shares": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "widths": (lambda value: bool(value) and min(value) >= 1, "positive widths"),
}
"""What holds for fields of one kind, and how it is said."""
FIELDS = {
    "counts": (
        "vocabulary", "frames", "codes", "code_dim", "training_steps", "steps",
        "dim", "depth", "heads", "head_dim",
    ),
    "even": ("head_dim",),
    "positive": ("scale", "shortest_period", "offset_weight", "huber_delta"),
    "shares": ("tail", "dropout"),
    "widths": ("dims",),
}  # fmt: skip
"""Kind of the fields that mean the same in every head."""


def check_fields(config: Any, **more: tuple[str, ...]) -> None:
    """Check that fields of ``config`` are in their ranges; one that is None is left out.

    Args:
        config: A dataclass. Its fields that `FIELDS` names are checked.
        more: Names of further fields, by a kind of `RULES`: ``counts=("layers",)``.

    Raises:
        InputError: For the first field that is wrong.
    """
    for kind, (holds, wanted) in RULES.items():
        for name in (*FIELDS[kind], *more.get(kind, ())):
            value = getattr(config, name, None)
            if value is not None and not holds(value):
                raise InputError(f"{type(config).__name__}.{name} must be {wanted}; got {value}.")
