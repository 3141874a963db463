"""What an inspection says about a network: a name, a verdict, and one sentence of what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Place(NamedTuple):
    """Where something is to be looked at, and what is so there."""

    layer: str
    """Name of the submodule, as in ``named_modules``; empty for the network itself."""
    text: str
    """What was measured there, with its numbers."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    """What was checked."""
    advice: str
    """One sentence: what to do, or that nothing is to be done."""
    places: tuple[Place, ...] = ()
    """Where to look; none if all is well."""

    @property
    def verdict(self) -> Literal["ok", "look here"]:
        """Whether something is to be looked at."""
        return "look here" if self.places else "ok"


def judge(name: str, places: Iterable[Place], *, look: str, ok: str) -> Finding:
    """Return a finding with the advice that fits: ``look`` where there are places, else ``ok``."""
    places = tuple(places)
    return Finding(name, look if places else ok, places)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding a name, what is to be looked at first; equal places are told once."""
    by_name: dict[str, Finding] = {}
    for found in findings:
        known = by_name.get(found.name, found)
        places = tuple(dict.fromkeys([*known.places, *found.places]))
        by_name[found.name] = Finding(found.name, (known if known.places else found).advice, places)
    return sorted(by_name.values(), key=lambda found: found.verdict == "ok")


def by(sizes: Iterable[object]) -> str:
    """Write sizes as 3x4."""
    return "x".join(str(size) for size in sizes)
