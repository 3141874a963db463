"""What the pages of published results share: a run's figures copied into docs/, and tables."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eyehand.checksums import load_tensors, read_json, save_tensors, write_json
from eyehand.data.lerobot import Dataset
from eyehand.envs.suite import Suite
from eyehand.evaluation.results import (
    EpisodeRecord,
    ProbeResult,
    Results,
    TaskResult,
    group_results,
    percent_range,
    read_results,
    score,
    task_mean,
)
from eyehand.models.checkpoint import in_bytes
from eyehand.policies.registry import RELEASED

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Run:
    """One evaluated policy."""

    name: str
    results: Results
    summary: dict[str, Any]
    policy: dict[str, Any]


def policies_of(out: Path) -> list[Path]:
    """Return the folders of a run's policies, in the order of their training."""
    return sorted(out.glob("policy-[0-9]"))


def release(name: str, out: Path) -> None:
    """Copy the last policy of a run into the package under a name, a byte a number of matrices."""
    policy, folder = policies_of(out)[-1], RELEASED / name
    folder.mkdir(parents=True, exist_ok=True)
    copy_json(policy / "config.json", folder, out)
    weights = load_tensors(policy / "model.safetensors")
    save_tensors(folder / "model.safetensors", in_bytes(weights))


def copy_json(file: Path, folder: Path, out: Path) -> None:
    """Copy what a run noted; where its folder was on that machine is nobody's business."""
    text = json.dumps(read_json(file))
    for path in (out.resolve(), out):
        text = text.replace(str(path), f"outputs/{out.name}")
    text = re.sub(r'"[^"]*/eyehand"', '"eyehand"', text)
    write_json(folder / file.name, json.loads(text))


def add_run(page: str, name: str, out: Path) -> None:
    """Copy what `eyehand reproduce` left to a page's folder, with corrections or without."""
    policies = policies_of(out)
    targets = {0: f"{name}-plain"} | ({len(policies) - 1: name} if len(policies) > 1 else {})
    for rounds, target in targets.items():
        policy = policies[rounds]
        folder = FOLDER / page / target
        folder.mkdir(parents=True, exist_ok=True)
        copy_json(out / f"evaluation-{policy.name}" / "results.json", folder, out)
        copy_json(policy / "config.json", folder, out)
        corrections = [Dataset(out / f"corrections-{number + 1}") for number in range(rounds)]
        demonstrations = Dataset(out / "demonstrations")
        configs = [json.loads((one / "config.json").read_text()) for one in policies[: rounds + 1]]
        summary = {
            "demonstrations": len(demonstrations.episodes),
            "corrections": sum(len(dataset.episodes) for dataset in corrections),
            "frames": sum(map(len, [demonstrations, *corrections])),
            "training_minutes": sum(config["training"]["minutes"] for config in configs),
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def read_runs(page: str, suite: Suite) -> list[Run]:
    """Return every run in a page's folder, best first."""
    runs = [
        Run(
            folder.name,
            _with_present_intervals(read_results(folder), suite),
            json.loads((folder / "summary.json").read_text()),
            json.loads((folder / "config.json").read_text())["policy"],
        )
        for folder in sorted((FOLDER / page).iterdir())
        if (folder / "summary.json").is_file()
    ]
    return sorted(runs, key=lambda run: -mean_of(run.results))


def _with_present_intervals(results: Results, suite: Suite) -> Results:
    """Return results whose means have this version's intervals, which respect shared seeds."""
    records = [
        EpisodeRecord("", task, seed, "", success, steps, 0.0, "")
        for task, seed, success, steps in results.episodes
    ]
    return replace(
        results,
        groups=group_results(suite, records),
        score=score(suite, records),
        task_mean=task_mean(records),
    )


def mean_of(results: Results) -> float:
    """Return the published score, 0 to 1."""
    assert results.score is not None
    return results.score.value


def row(*cells: object) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def hundred(value: float) -> str:
    """Return a rate of 0 to 1 in hundredths."""
    return f"{100 * value:.1f}"


def rate_text(result: TaskResult) -> str:
    """Return successes, episodes and interval."""
    return f"{result.successes}/{result.episodes} ({percent_range(result.interval)})"


def data(runs: list[Run]) -> list[str]:
    """Return the table of what each policy was trained on."""
    rows = [
        row(
            "policy",
            "demonstrations",
            "corrections",
            "frames",
            "minutes of training",
            "privileged in training",
        ),
        row(*["---"] * 6),
    ]
    for run in runs:
        summary = run.summary
        rows.append(
            row(
                run.name,
                f"{summary['demonstrations']:,}",
                f"{summary['corrections']:,}",
                f"{summary['frames']:,}",
                f"{summary['training_minutes']:.0f}",
                f"places of {run.policy['landmarks']} landmarks in the picture"
                if run.policy["landmarks"]
                else "nothing",
            )
        )
    return rows


def controls(runs: list[Run]) -> list[str]:
    """Return the tables of probes, one a policy that has them."""
    lines = []
    for run in (run for run in runs if run.results.probes):
        lines += [
            f"### {run.name}",
            "",
            row(
                "control",
                "success",
                "95 % interval",
                "without it",
                run.results.score_name,
                "without it",
                "tasks",
            ),
            row(*["---"] * 7),
        ]
        for name, probe in run.results.probes.items():
            lines.append(_control_row(name, probe))
        lines.append("")
    return lines


def _control_row(name: str, probe: ProbeResult) -> str:
    means = [
        "" if mean is None else hundred(mean.value) for mean in (probe.score, probe.unprobed_score)
    ]
    return row(
        name,
        f"{probe.successes}/{probe.episodes}",
        percent_range(probe.interval),
        f"{probe.unprobed.successes}/{probe.unprobed.episodes}",
        *means,
        len(probe.tasks),
    )
