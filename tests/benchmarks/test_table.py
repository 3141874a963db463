import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from benchmarks.peers import table
from eyehand.envs.metaworld import METAWORLD
from eyehand.evaluation.results import (
    EpisodeRecord,
    Results,
    task_mean,
    task_results,
    write_results,
)
from eyehand.types import InputError

SETTINGS = {
    "minutes": 2.5, "cores": 2, "data": "somewhere/data", "camera": "top", "picture": 96,
    "frames": 5000, "episodes": 4, "seed": 1_000_000, "training_seed": 0, "command": "compare",
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "tasks": ["reach"], "frames": 5000, "seconds": 150.0, "preparation_seconds": 3.0, "steps": 300,
    "samples": 2400, "batch_size": 8, "parameters_trained": 51_600_000, "parameters_frozen": 0,
    "precision": "fp32", "changes": {"weights": None}, "loader": "DataLoader",
    "versions": {"a": "1"}, "peak_memory": 1_890_000_000,
}  # fmt: skip


def results(tasks: list[str], successes: int) -> Results:
    records = [
        EpisodeRecord("", task, 1_000_000 + number, "", number < successes, 90, 0.5, "")
        for task in tasks
        for number in range(4)
    ]
    found = task_results(METAWORLD, records)
    return Results(
        protocol=METAWORLD.protocol, command="", checkpoint="", checkpoint_sha256="", tasks=found,
        groups={}, score=None, task_mean=task_mean(records), seeds=(1_000_000, 1_000_003),
        seed_range="evaluation", observation={}, execution={}, probes={}, films=[], steps=1,
        seconds=1.0, steps_per_second=1.0, commit="", versions={},
        episodes=[(r.task, r.seed, r.success, r.steps) for r in records],
    )  # fmt: skip


def write_stage(
    out: Path, place: str, tasks: list[str], successes: dict[int, int], **training: Any
) -> None:
    folder = out / place
    for executed, count in successes.items():
        (folder / f"evaluation-{executed}").mkdir(parents=True)
        write_results(results(tasks, count), folder / f"evaluation-{executed}" / "results.json")
    (folder / "training.json").write_text(json.dumps(TRAINING | {"tasks": tasks} | training))


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """Two policies on two sets of tasks, and their speeds in two rounds."""
    both = ["reach", "push"]
    write_stage(tmp_path, "pair/act", both, {100: 1, 4: 2})
    write_stage(
        tmp_path, "pair/bcz", both, {4: 3}, parameters_frozen=22_700_000, samples=76_800, changes={}
    )
    write_stage(tmp_path, "reach/act", ["reach"], {100: 0})
    speeds = {
        "bcz": [
            {
                "loader_samples_per_second": r,
                "step_samples_per_second": 1000,
                "call_milliseconds": [3],
            }
            for r in (20_000, 10_000)
        ],
        "act": [
            {"loader_samples_per_second": 100, "step_samples_per_second": s, "call_milliseconds": c}
            for s, c in ((40, [40, 42]), (60, [44, 90]))
        ],
    }
    (tmp_path / "speed.json").write_text(json.dumps(speeds))
    return tmp_path


def test_rows_hold_what_the_stages_found(comparison: Path) -> None:
    found = table.gather(comparison, settings=SETTINGS)
    told = [(row["set"], row["policy"], row["executed"], row["told_by"]) for row in found["rows"]]
    assert told == [
        ("reach", "act", 100, "nothing: it has one"),
        ("pair", "bcz", 4, "a sentence"),
        ("pair", "act", 100, "a one-hot"),
        ("pair", "act", 4, "a one-hot"),
    ]
    bcz = found["rows"][1]
    assert (bcz["successes"], bcz["episodes"], bcz["seeds"]) == (6, 8, (1_000_000, 1_000_003))
    # Its two tasks fail on the same seed: these are four draws, not eight.
    low, high = binomtest(6, 8).proportion_ci(method="wilson")
    assert bcz["interval"][1] - bcz["interval"][0] > 1.5 * (high - low)
    assert bcz["success_by_task"] == {"reach": [3, 4], "push": [3, 4]}
    assert bcz["training_samples_per_second"] == 512
    assert bcz["speed"]["loader_samples_per_second"] == 15_000
    act = found["speed"]["act"]
    assert (act["call_p50"], act["calls"], act["rounds"]) == (43, 4, 2)
    assert act["call_p99"] == pytest.approx(88.62)
    assert found["ratios"] == {"act": {"loader": 150, "step": 20, "call": pytest.approx(43 / 3)}}


def test_the_table_in_words(comparison: Path) -> None:
    file = table.write(comparison, settings=SETTINGS)
    text = file.read_text()
    assert "Protocol `metaworld-v2`, 2.5 minutes of training each, 2 cores" in text
    assert "data set `data` of 5,000 frames" in text
    assert "camera top, 96 pixels, 4 episodes per task from seed 1000000 on" in text
    assert (
        "| bcz | pair (2 tasks) | a sentence | 75.0 % | 6/8 | 2.1 to 100.0 | 1000000-1000003 | 4 "
        "| 300 | 8 | 512 | 51.6 + 22.7 frozen | 3.0 / 3.0 | 1.89 |"
    ) in text
    assert "| act | 150.0x | 20.0x | 14.3x |" in text
    assert "| task | bcz, 4 per plan | act, 100 per plan | act, 4 per plan |" in text
    assert "| push | 3/4 | 1/4 | 2/4 |" in text
    assert "ACT and Diffusion Policy read no language" in text
    assert "- act on reach: 5,000 frames, 150 s of steps" in text
    assert text.count("- act on pair:") == 1
    assert "not its default: `weights=None`; a 1." in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {len(table.HEADINGS) + 1, 5}
    written = json.loads((comparison / "comparison.json").read_text())
    assert written["settings"] == SETTINGS
    assert len(written["rows"]) == 4


def test_what_has_not_run_has_no_row(comparison: Path) -> None:
    (comparison / "speed.json").unlink()
    (comparison / "pair/bcz/training.json").unlink()
    found = table.gather(comparison, settings=SETTINGS)
    assert {row["policy"] for row in found["rows"]} == {"act"}
    assert (found["ratios"], found["speed"]) == ({}, {})
    text = table.markdown(found)
    assert "not measured" in text
    assert "Ratios" not in text


def test_ratios_need_both_sides() -> None:
    rounds = [
        {"loader_samples_per_second": 1, "step_samples_per_second": 1, "call_milliseconds": [1.0]}
    ]
    assert table.ratios({"act": table.summarize_speed(rounds)}) == {}


def test_results_of_different_protocols_are_not_mixed(comparison: Path) -> None:
    file = comparison / "pair/act/evaluation-4/results.json"
    write_results(replace(results(["reach"], 1), protocol="another-v9"), file)
    with pytest.raises(InputError, match="mixes results of another-v9 and metaworld-v2"):
        table.gather(comparison, settings=SETTINGS)
