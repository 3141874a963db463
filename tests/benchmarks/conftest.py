"""The benchmarks are no part of the package; they are found from the root of the repository."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from eyehand.envs.metaworld import METAWORLD
from eyehand.envs.suite import Suite
from eyehand.evaluation.results import (
    EpisodeRecord,
    Results,
    group_results,
    read_results,
    score,
    task_mean,
    task_results,
)

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def made_results() -> Callable[..., Results]:
    """Make results of an evaluation that nobody ran: in every task the first seeds fail."""

    def make(
        tasks: Sequence[str],
        *,
        first: int,
        episodes: int,
        failing: int,
        suite: Suite = METAWORLD,
    ) -> Results:
        records = [
            EpisodeRecord("", task, first + seed, "", seed >= failing, 50, 0.1, "")
            for task in tasks
            for seed in range(episodes)
        ]
        return replace(
            read_results(ROOT / "docs" / "benchmarks" / "mt50" / "bcz"),
            protocol=suite.protocol,
            probes={},
            seeds=(first, first + episodes - 1),
            episodes=[(record.task, record.seed, record.success, 50) for record in records],
            tasks=task_results(suite, records),
            groups=group_results(suite, records),
            score=score(suite, records),
            task_mean=task_mean(records),
        )

    return make
