"""The page of heads with history: its figures follow from the episodes."""

from dataclasses import replace
from pathlib import Path

from benchmarks import history
from benchmarks.history import EPISODES, FIRST
from eyehand.envs.metaworld import METAWORLD, TASKS
from eyehand.evaluation.results import EpisodeRecord, Results, read_results, score, task_mean

ROOT = Path(__file__).parents[2]


def results(failing: int) -> Results:
    """Results in which the first ``failing`` seeds of every task fail."""
    some = read_results(ROOT / "docs" / "benchmarks" / "mt50" / "bcz")
    records = [
        EpisodeRecord("", task, FIRST + seed, "", seed >= failing, 50, 0.1, "")
        for task in TASKS
        for seed in range(EPISODES)
    ]
    return replace(
        some,
        episodes=[(record.task, record.seed, record.success, 50) for record in records],
        score=score(METAWORLD, records),
        task_mean=task_mean(records),
    )


def test_every_head_is_compared_with_the_policy_as_it_is() -> None:
    found = {"as it is": results(6), "lstm": results(0), "gpt": results(6)}
    text = history.page(found, {"lstm": 0.1234, "gpt": 0.2}, minutes=8)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert rows["as it is"].split("|")[3].strip().startswith("70.0 (")
    assert "| +300 | 0.0312 |" in rows["lstm"]
    assert "| 0.1234 |" in rows["lstm"]
    assert "| +0 | 1.0000 |" in rows["gpt"]
