"""The time of one call of a policy, and how often its network runs in it."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from eyehand.types import Actor, Observation

WARM_UP = 10
"""First calls, which are not timed; they fill caches and a policy's memory."""


class Latency(NamedTuple):
    """Time of one call of ``act`` for one robot on one core."""

    median_ms: float
    p99_ms: float


def measure_latency(policy: Actor, observations: Sequence[Observation]) -> Latency:
    """Time calls of ``act``, one after the other, on one core.

    Args:
        policy: Any policy, in evaluation mode.
        observations: Successive observations of one robot; the first `WARM_UP`
            are not timed.

    Raises:
        ValueError: If there are only `WARM_UP` or fewer.
    """
    if len(observations) <= WARM_UP:
        raise ValueError(f"more than {WARM_UP} observations are needed; got {len(observations)}.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for observation in observations:
            start = time.perf_counter()
            policy.act(observation)
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    median, p99 = np.quantile(1000 * np.array(times[WARM_UP:]), (0.5, 0.99))
    return Latency(float(median), float(p99))


def passes_per_call(policy: Actor, module: nn.Module, observations: Sequence[Observation]) -> float:
    """Return how often the busiest part of ``module`` runs in one call of ``act``, on average.

    That is 1 for a chunk computed at once, the number of denoising steps for a denoised one, and
    the number of tokens for one that is generated token by token.

    Args:
        policy: Any policy, in evaluation mode.
        module: A part of it, such as its head.
        observations: One robot each.
    """
    counts: dict[nn.Module, int] = {}

    def count(part: nn.Module, *_: Any) -> None:
        counts[part] = counts.get(part, 0) + 1

    hooks = [part.register_forward_hook(count) for part in module.modules() if part is not module]
    try:
        for observation in observations:
            policy.act(observation)
    finally:
        for hook in hooks:
            hook.remove()
    return max(counts.values(), default=0) / len(observations)


class StageTimer:
    """Times the three stages of one call of ``act``: perceive, fuse, act.

    Args:
        eyes: The part that reads pictures; perceiving ends with its last run.
        head: The part that makes actions; acting begins with its first run.

    Example:
        >>> eyes, head = nn.Linear(2, 3), nn.Linear(3, 1)
        >>> timer = StageTimer(eyes=eyes, head=head)
        >>> with timer:
        ...     _ = head(eyes(torch.zeros(1, 2)))
        >>> list(timer.milliseconds)
        ['perceive', 'fuse', 'act']
    """

    def __init__(self, *, eyes: nn.Module, head: nn.Module) -> None:
        self.milliseconds: dict[str, float] = {}
        self._seen = self._begun = 0.0
        eyes.register_forward_hook(self._note_seen)
        for part in head.modules():
            part.register_forward_pre_hook(self._note_begun)

    def __enter__(self) -> None:
        """Start the clock."""
        self._seen = self._begun = 0.0
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Stop the clock, and set ``milliseconds``."""
        marks = [self._start, self._seen or self._start]
        marks += [self._begun or marks[-1], time.perf_counter()]
        parts = [1000 * (after - before) for before, after in pairwise(marks)]
        self.milliseconds = dict(zip(("perceive", "fuse", "act"), parts, strict=True))

    def _note_seen(self, *_: Any) -> None:
        self._seen = time.perf_counter()

    def _note_begun(self, *_: Any) -> None:
        self._begun = self._begun or time.perf_counter()
