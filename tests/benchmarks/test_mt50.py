"""The page of results: every figure in it stands in the files it is made from."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import mt50, result_pages
from benchmarks.result_pages import add_run, read_runs, release
from eyehand.data.writer import DatasetWriter
from eyehand.envs.metaworld import METAWORLD, TASKS, TIERS
from eyehand.evaluation.results import (
    EpisodeRecord,
    ProbeResult,
    Results,
    group_results,
    rate,
    score,
    task_mean,
    task_results,
    write_results,
)
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import build_policy, load_policy, save_policy
from eyehand.types import Episode


def make_results(name: str, *, failing: tuple[str, ...]) -> Results:
    """Twenty episodes a task, all successes but those of the failing tasks, 7 of 20."""
    records = [
        EpisodeRecord("", task, 1_000_000 + seed, "", task not in failing or seed < 7, 50, 0.1, "")
        for task in TASKS
        for seed in range(20)
    ]
    blind = [replace(record, success=False) for record in records if record.seed < 1_000_005]
    same = [record for record in records if record.seed < 1_000_005]
    return Results(
        protocol=METAWORLD.protocol,
        command=f"eyehand eval {name}",
        checkpoint=name,
        checkpoint_sha256="0" * 64,
        tasks=task_results(METAWORLD, records),
        groups=group_results(METAWORLD, records),
        score=score(METAWORLD, records),
        task_mean=task_mean(records),
        seeds=(1_000_000, 1_000_019),
        seed_range="evaluation",
        observation={
            "camera": "work_area",
            "picture": "96 x 96 RGB",
            "state": "4-D",
            "privileged": "none",
        },
        execution={"steps": 4},
        probes={
            "image blank": ProbeResult(
                **asdict(rate(blind)),
                question="",
                unprobed=rate(same),
                tasks=list(TASKS),
                score=score(METAWORLD, blind),
                unprobed_score=score(METAWORLD, same),
            )
        },
        films=[],
        steps=1,
        seconds=1.0,
        steps_per_second=1.0,
        commit="",
        versions={},
        episodes=[(r.task, r.seed, r.success, r.steps) for r in records],
    )


def make_run(out: Path) -> Path:
    """What two rounds of a run leave: three data sets, three policies, two evaluations."""
    lengths = {"demonstrations": (5, 6), "corrections-1": (3,), "corrections-2": (2, 2, 2)}
    for kind, episodes in lengths.items():
        with DatasetWriter(
            out / kind, fps=80, image_shapes={"work_area": (16, 16)}, state_dim=4, action_dim=4,
            robot="metaworld",
        ) as writer:  # fmt: skip
            for seed, length in enumerate(episodes):
                picture = np.zeros((length, 16, 16, 3), np.uint8)
                numbers = np.zeros((length, 4), np.float32)
                writer.add(Episode({"work_area": picture}, numbers, numbers, "Go.", "reach", seed))
    for number, minutes in enumerate((50.0, 35.0, 60.0)):
        policy = out / f"policy-{number}"
        policy.mkdir()
        config = {"policy": {"name": "bcz", "landmarks": 4}, "training": {"minutes": minutes}}
        (policy / "config.json").write_text(json.dumps(config))
    for number, failing in ((0, ("reach", "push", "soccer")), (2, ("soccer",))):
        folder = out / f"evaluation-policy-{number}"
        folder.mkdir()
        write_results(make_results(f"policy-{number}", failing=failing), folder / "results.json")
    return out


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(result_pages, "FOLDER", tmp_path / "benchmarks")
    add_run("mt50", "bcz", make_run(tmp_path / "run"))
    return mt50.page(read_runs("mt50", METAWORLD))


def row(page: str, start: str) -> list[str]:
    """Return the cells of the first row that begins with ``start``."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_score_is_the_mean_of_the_tiers_and_the_best_comes_first(page: str) -> None:
    easy, medium, hard = (1 - 0.65 / len(TIERS[tier]) for tier in ("easy", "medium", "hard"))
    score = 100 * (easy + medium + hard + 1) / 4
    assert row(page, "**eyehand bcz-plain**")[3].startswith(f"**{score:.1f}** (")
    assert row(page, "**eyehand bcz-plain**")[7] == "100.0 (97.0 to 100.0)"
    better = 100 * (3 + medium) / 4
    assert row(page, "**eyehand bcz**")[3].startswith(f"**{better:.1f}** (")
    assert page.index("**eyehand bcz**") < page.index("**eyehand bcz-plain**")
    assert row(page, "SmolVLA 2.25B [2]")[3:] == ["68.2", "87.1", "51.8", "70.0", "64.0", ""]


def test_what_it_was_trained_on_is_counted_from_data_and_configs(page: str) -> None:
    privileged = "places of 4 landmarks in the picture"
    assert row(page, "bcz-plain") == ["bcz-plain", "2", "0", "11", "50", privileged]
    assert row(page, "bcz") == ["bcz", "2", "4", "20", "145", privileged]


def test_several_trainings_of_a_recipe_stand_together(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "several training seeds" not in page
    monkeypatch.setattr(result_pages, "FOLDER", tmp_path / "benchmarks")
    add_run("mt50", "bcz-seed-1", make_run(tmp_path / "again"))
    again = mt50.page(read_runs("mt50", METAWORLD))
    each, mean, interval = row(again, "bcz-plain")[1:]
    one, two = each.split(", ")
    assert one == two == mean
    low, high = map(float, interval.split(" to "))
    assert low < float(mean) < high


def test_controls_stand_beside_the_same_starts(page: str) -> None:
    assert row(page, "image blank")[1:] == [
        "0/250", "0.0 to 3.4", "250/250", "0.0", "100.0", "50",
    ]  # fmt: skip


def test_every_task_has_a_row_and_the_weak_ones_are_named(page: str) -> None:
    assert all(row(page, task) for task in TASKS)
    assert row(page, "soccer")[2:] == ["7/20 (18.1 to 56.7)"] * 2
    assert "- bcz: soccer." in page
    assert "- bcz-plain: reach, soccer, push." in page


def test_the_last_policy_is_released_in_a_third_of_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_pages, "RELEASED", tmp_path / "released")
    config = BCZConfig(dims=(8, 8, 8), context_dim=8, keypoints=4, map_dim=4)
    statistics = blank_statistics(state_dim=4, action_dim=4)
    policies = [build_policy(config, statistics=statistics) for _ in range(2)]
    for number, policy in enumerate(policies):
        save_policy(policy, tmp_path / "run" / f"policy-{number}")
    release("mt50", tmp_path / "run")
    released = load_policy(tmp_path / "released" / "mt50")
    wanted = dict(policies[1].named_parameters())
    for name, value in released.named_parameters():
        assert value.dtype == torch.float32
        most = wanted[name].abs().max().item()
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=most / 254 + 1e-9)
    first, second = tmp_path / "run" / "policy-1", tmp_path / "released" / "mt50"
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (first, second)]
    assert sizes[1] < 0.35 * sizes[0]
