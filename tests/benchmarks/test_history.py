"""The page of heads with history: its figures follow from the episodes."""

from collections.abc import Callable
from functools import partial

from benchmarks import history
from benchmarks.history import EPISODES, FIRST
from eyehand.envs.metaworld import TASKS
from eyehand.evaluation.results import Results


def test_every_head_is_compared_with_the_policy_as_it_is(
    made_results: Callable[..., Results],
) -> None:
    results = partial(made_results, TASKS, first=FIRST, episodes=EPISODES)
    found = {
        "as it is": results(failing=6),
        "lstm": results(failing=0),
        "gpt": results(failing=6),
    }
    text = history.page(found, {"lstm": 0.1234, "gpt": 0.2}, minutes=8)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert rows["as it is"].split("|")[3].strip().startswith("70.0 (")
    assert "| +300 | 0.031 |" in rows["lstm"]
    assert "| 0.1234 |" in rows["lstm"]
    assert "| +0 | 1 |" in rows["gpt"]
