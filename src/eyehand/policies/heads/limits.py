"""Ranges of the numbers in a head's config; an error names the field, the range and the value."""

import math
from collections.abc import Callable
from typing import Any

from eyehand.types import InputError, shortened

WIDEST, DEEPEST = 65_536, 256
"""Largest count or width, and most layers: beyond, building the network takes minutes."""
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "counts": (lambda value: 1 <= value <= WIDEST, f"1 to {WIDEST:,}"),
    "layers": (lambda value: 1 <= value <= DEEPEST, f"1 to {DEEPEST}"),
    "even": (lambda value: value % 2 == 0, "even"),
    "positive": (lambda value: 0 < value < math.inf, "above 0 and finite"),
    "weights": (lambda value: 0 <= value < math.inf, "at least 0 and finite"),
    "shares": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "widths": (
        lambda value: 1 <= len(value) <= DEEPEST and all(1 <= one <= WIDEST for one in value),
        f"widths of 1 to {WIDEST:,}, at most {DEEPEST} of them",
    ),
}
"""What holds for fields of one kind, and how it is said."""
FIELDS = {
    "counts": (
        "vocabulary", "frames", "codes", "code_dim", "training_steps", "steps",
        "dim", "heads", "head_dim",
    ),
    "layers": ("depth",),
    "even": ("head_dim",),
    "positive": ("scale", "shortest_period", "offset_weight", "huber_delta"),
    "weights": ("gripper_weight",),
    "shares": ("tail", "dropout"),
    "widths": ("dims", "shortcut"),
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
                shown = shortened(value)
                raise InputError(f"{type(config).__name__}.{name} must be {wanted}; got {shown}.")
