"""Wall times of one call, repeated; both Pythons import this file, so it needs nothing."""

from collections.abc import Callable
from time import perf_counter


def seconds_of(call: Callable[[], object], seconds: float) -> list[float]:
    """Call once for warmth, then at least twice and for ``seconds``; return each wall time."""
    call()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return times
