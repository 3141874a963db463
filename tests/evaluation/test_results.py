"""results.json: the figures against hand-made episodes, and files that cannot be read."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from eyehand.envs.metaworld import METAWORLD, TIERS
from eyehand.evaluation.results import (
    EpisodeRecord,
    Results,
    group_results,
    mean_rows,
    rate,
    read_results,
    results_table,
    score,
    task_mean,
    write_results,
)
from eyehand.types import InputError


def episodes(task: str, outcomes: Iterable[bool]) -> list[EpisodeRecord]:
    return [
        EpisodeRecord("", task, seed, f"{task}!", success, 100 if success else 500, 0.5, "")
        for seed, success in enumerate(outcomes)
    ]


def test_steps_are_counted_over_all_and_over_successes(results: Results) -> None:
    assert results.tasks["reach"].mean_steps == 200
    assert results.tasks["reach"].mean_steps_of_successes == 100
    assert results.tasks["push"].mean_steps == 500
    assert results.tasks["push"].mean_steps_of_successes is None
    assert results.tasks["push"].group == "hard"
    assert results.tasks["push"].instruction == "push!"


def test_the_score_needs_every_task() -> None:
    everything = [
        record
        for tier, tasks in TIERS.items()
        for task in tasks
        for record in episodes(task, [True, tier == "very-hard"])
    ]
    found = score(METAWORLD, everything)
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.5 + 0.5 + 1) / 4)
    assert task_mean(everything).value == pytest.approx((45 * 0.5 + 5) / 50)
    low, high = found.interval
    assert low < found.value < high
    assert score(METAWORLD, [one for one in everything if one.task != "reach"]) is None


def test_a_tier_has_the_interval_of_its_tasks_together() -> None:
    tiers = group_results(
        METAWORLD, episodes("reach", [True] * 4) + episodes("door-open", [False] * 4)
    )
    assert list(tiers) == ["easy"]
    assert (tiers["easy"].successes, tiers["easy"].episodes) == (4, 8)
    # Not that of eight draws of one coin: one task always succeeds, the other never.
    low, high = tiers["easy"].interval
    pooled = rate(episodes("reach", [True, False] * 4)).interval
    assert pooled[0] < low < 0.5 < high < pooled[1]


def test_results_of_the_version_before_are_read() -> None:
    file = Path(__file__).parents[2] / "docs" / "benchmarks" / "mt50" / "bcz-v1"
    found = read_results(file)
    assert found.protocol == "metaworld-v1"
    assert found.score is not None
    assert 88 < 100 * found.score.value < 91
    assert list(found.groups) == ["easy", "medium", "hard", "very-hard"]
    assert found.groups["hard"].tasks_in_group == 6
    assert found.tasks["reach"].group == "easy"
    assert found.probes["image blank"].score is not None


def test_written_is_read(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results
    again = replace(results, commit="new")
    write_results(again, tmp_path / "results.json")
    assert read_results(tmp_path) == again


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("tasks"), r"incomplete \(missing value for field \"tasks\""),
        (lambda content: content["tasks"]["reach"].pop("interval"), r"\"tasks.*interval\""),
        (lambda content: content.pop("protocol"), "incomplete .*protocol"),
        (lambda content: content.update(seconds="long"), "incomplete .*seconds"),
    ],
)
def test_a_changed_file_is_named(
    results: Results, tmp_path: Path, change: object, said: str
) -> None:
    file = tmp_path / "results.json"
    write_results(results, file)
    content = json.loads(file.read_text())
    del content["checksum"]  # a file of the version before
    change(content)  # type: ignore[operator]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_results(file)


def test_a_missing_a_cut_and_an_alien_file_are_named(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    with pytest.raises(InputError, match=r"results\.json: there is no such file"):
        read_results(tmp_path)
    write_results(results, file)
    file.write_text(file.read_text()[:-50])
    with pytest.raises(InputError, match=r"results\.json is truncated.*evaluate again"):
        read_results(file)
    file.write_text("[1]")
    with pytest.raises(InputError, match="must hold names and values"):
        read_results(file)
    file.write_text("{}")
    with pytest.raises(InputError, match=r"incomplete .*protocol"):
        read_results(file)


def test_a_changed_figure_is_noticed(results: Results, tmp_path: Path) -> None:
    """It was read as it stood: a changed digit gave another result and no word."""
    file = tmp_path / "results.json"
    write_results(results, file)
    file.write_text(file.read_text().replace('"successes": 3', '"successes": 4'))
    with pytest.raises(InputError, match=r"results\.json is not as it was written.*evaluate again"):
        read_results(file)


def test_table_says_what_is_covered(results: Results) -> None:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(results_table(results))
    text = capture.get()
    assert "seeds 1000000-1000003 (evaluation)" in text
    assert "75.0 %" in text
    assert "3/4" in text
    assert "easy (1 of 28 tasks)" in text
    assert "not covered" in text
    assert "mean over the 2 tasks evaluated" in text
    assert "25.0 % (was 37.5 %)" in text


def test_one_task_is_singular(results: Results) -> None:
    one = replace(results, task_mean=task_mean(episodes("reach", [True, False])))
    assert mean_rows(one)[0][0] == "mean over the 1 task evaluated"
