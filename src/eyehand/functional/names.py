"""The sentence for a name that does not exist; it suggests the nearest one."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence that says that ``name`` is not among the ``known`` names.

    Args:
        kind: What the name stands for, as in "no <kind> 'x'".
        name: The name that was given.
        known: Every name that exists.

    Example:
        >>> unknown_name("task", "drawer-opn", ["drawer-open", "reach"])
        "no task 'drawer-opn'. Did you mean 'drawer-open'?"
        >>> unknown_name("task", "?", ["drawer-open", "reach"])
        "no task '?'. There are: drawer-open, reach."
    """
    known = list(known)
    nearest = get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"There are: {', '.join(known)}."
    return f"no {kind} {name!r}. {hint}"
