"""Results made by hand, and files that stand in for a checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from eyehand.envs.metaworld import METAWORLD
from eyehand.evaluation.chain import Chain, ChainResults, average_length
from eyehand.evaluation.results import (
    EpisodeRecord,
    Film,
    ProbeResult,
    Rate,
    Results,
    group_results,
    rate,
    score,
    task_mean,
    task_results,
)


@pytest.fixture
def results() -> Results:
    """Two tasks, one probe and one film, with names that HTML must escape."""
    records = [
        EpisodeRecord("", task, seed, f"{task}!", success, 100 if success else 500, 0.5, "")
        for task, outcomes in [("reach", (True, True, True, False)), ("push", (False,) * 4)]
        for seed, success in enumerate(outcomes)
    ]
    tasks = task_results(METAWORLD, records)
    probed = ProbeResult(
        4,
        1,
        0.25,
        (0.05, 0.7),
        question="<deaf?>",
        unprobed=rate(records),
        score=None,
        unprobed_score=None,
        tasks=list(tasks),
    )
    return Results(
        protocol=METAWORLD.protocol,
        command="eyehand eval 'a & b'",
        checkpoint="runs/<policy>",
        checkpoint_sha256="0" * 64,
        tasks=tasks,
        groups=group_results(METAWORLD, records),
        score=score(METAWORLD, records),
        task_mean=task_mean(records),
        seeds=(1_000_000, 1_000_003),
        seed_range="evaluation",
        observation={
            "camera": "corner4",
            "picture": "96 x 96 RGB",
            "state": "4-D",
            "instruction": "LeRobot's",
            "privileged": "none",
        },
        execution={"steps": 4, "temporal_ensembling": None},
        probes={"instruction swapped": probed},
        films=[Film("reach", 0, True, "films/reach.mp4")],
        steps=1000,
        seconds=10.0,
        steps_per_second=100.0,
        commit="abc",
        versions={"python": "3.11"},
        episodes=[(r.task, r.seed, r.success, r.steps) for r in records],
    )


@pytest.fixture
def chains(results: Results) -> ChainResults:
    """Chains of two tasks, told to the same policy: two, one and none in a row."""
    mean, interval = average_length(np.array([2, 1, 0]), 2, np.arange(3))
    return ChainResults(
        suite=results.suite,
        protocol=results.protocol,
        command=results.command,
        checkpoint=results.checkpoint,
        checkpoint_sha256=results.checkpoint_sha256,
        in_a_row=[Rate.of(2, 3), Rate.of(1, 3)],
        average_length=mean,
        interval=interval,
        most_steps=500,
        seeds=(1_000_000, 1_000_002),
        seed_range="evaluation",
        execution=results.execution,
        chains=[
            Chain(["reach", "push"], 1_000_000, 2, [100, 90]),
            Chain(["reach", "push"], 1_000_001, 1, [100, 500]),
            Chain(["push", "reach"], 1_000_002, 0, [500]),
        ],
        steps=1290,
        seconds=9.0,
        commit="abc",
        versions={"python": "3.11"},
        policy_threads=1,
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
