"""An axis of a comparison: a field with its values, or with a range to search."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf

import optuna

from eyehand.types import InputError


@dataclass(frozen=True)
class Axis:
    """A field, and its values or the range in which it is searched."""

    field: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def is_range(self) -> bool:
        """Whether the field is searched in a range."""
        return not self.values

    def suggest(self, trial: optuna.Trial) -> str:
        """Return the trial's value: whole numbers evenly, others on a logarithmic scale."""
        if self.values:
            return str(trial.suggest_categorical(self.field, self.values))
        if self.low == int(self.low) and self.high == int(self.high):
            return str(trial.suggest_int(self.field, int(self.low), int(self.high)))
        return str(trial.suggest_float(self.field, self.low, self.high, log=True))


def parse_axis(text: str) -> Axis:
    """Read ``field=value,value`` or ``field=low..high``.

    Raises:
        InputError: If it is neither.

    Example:
        >>> parse_axis("policy.horizon=8,16").values
        ('8', '16')
        >>> parse_axis("training.learning-rate=1e-4..1e-2").high
        0.01
    """
    field, equals, values = text.partition("=")
    if not (field and equals and values):
        raise InputError(
            f"{text!r} is not an axis: write field=value,value, as policy.head=mlp,flow, a range "
            "field=low..high, or the name of a comparison, such as heads."
        )
    if ".." not in values:
        return Axis(field, tuple(values.split(",")))
    low, _, high = values.partition("..")
    try:
        axis = Axis(field, low=float(low), high=float(high))
    except ValueError as error:
        raise InputError(f"{text!r}: the ends of a range must be numbers ({error}).") from error
    if not 0 < axis.low < axis.high < inf:
        raise InputError(
            f"{text!r}: a range must begin above 0 and grow, to a number, such as 1e-4..1e-2."
        )
    return axis


def cells_of(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Return every combination of the axes' values.

    Example:
        >>> cells_of([Axis("a", ("1", "2")), Axis("b", ("3",))])
        [{'a': '1', 'b': '3'}, {'a': '2', 'b': '3'}]
    """
    fields = [axis.field for axis in axes]
    return [
        dict(zip(fields, values, strict=True))
        for values in product(*(axis.values for axis in axes))
    ]
