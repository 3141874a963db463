"""One call of an operator of torch, as the rules of `eyehand.inspection.rules` see it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from eyehand.inspection.sight import Sight

Seen = tuple[Sight, Sight] | str | None
"""What a tensor sees along the height and the width; a text says why that is unknown; None if the
picture makes no change to it."""


class Call(NamedTuple):
    """One call of an operator, after it ran; what is seen is along one axis of the picture."""

    name: str
    """Of the operator, without its overload and without the underscore of its in-place form."""
    arguments: Mapping[str, Any]
    """By their names in the operator's schema, defaults too."""
    shapes: Sequence[tuple[int, ...]]
    """Of the tensors that came out."""
    before: Mapping[int, Seen]
    """What the tensors among the arguments saw before the call, by their ``id``."""
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.shapes[0]

    def look_up(self, tensor: object) -> Sight | None:
        """Return what a tensor saw; None if nothing, or if it is no tensor."""
        value = self.before.get(id(tensor)) if isinstance(tensor, Tensor) else None
        return value[self.axis] if isinstance(value, tuple) else None

    def sight(self, *names: str) -> Sight | None:
        """Return what the first argument of these names saw."""
        return self.look_up(next(self.arguments[n] for n in names if n in self.arguments))

    def sights(self, *, but: Sequence[str] = ()) -> list[Sight]:
        """Return what all tensors among the arguments saw, those in lists too."""
        values: list[Any] = []
        for name, value in self.arguments.items():
            if name not in but:
                values += value if isinstance(value, list | tuple) else [value]
        return [x for value in values if (x := self.look_up(value)) is not None]

    def setting(self, name: str, axis: int) -> int:
        """Return the entry of one dimension in an argument that may hold one value for all."""
        value = self.arguments[name]
        if isinstance(value, int):
            return value
        return value[axis] if len(value) > 1 else value[0]


Outcome = Sight | None | list[Sight | None]
"""What each output sees; a single one stands for all. None: the picture makes no change to it."""
Rule = Callable[[Call], Outcome]


def table(*rows: tuple[Rule, str]) -> dict[str, Rule]:
    """Return rules by the names of their operators, given as words in one string."""
    return {name: rule for rule, names in rows for name in names.split()}


def wrapped(dim: int | Iterable[int] | None, count: int) -> list[int]:
    """Return dimensions counted from the front; None or an empty list means all ``count``."""
    dims = [dim] if isinstance(dim, int) else list(dim or range(count))
    return [index % count for index in dims if count]
