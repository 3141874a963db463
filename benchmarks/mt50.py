"""Writes docs/benchmarks/mt50.md from what `eyehand reproduce mt50` left; nothing in it is typed.

    python benchmarks/mt50.py                                  # from docs/benchmarks/mt50/NAME/
    python benchmarks/mt50.py --add bcz outputs/mt50           # copy the results of a run first
    python benchmarks/mt50.py --add bcz-seed-1 outputs/seed-1  # the same from another training seed
    python benchmarks/mt50.py --release outputs/mt50           # its last policy becomes `mt50`

Of a run's first policy, before corrections, and of its last, results.json
and config.json are kept in docs/benchmarks/mt50/NAME-plain and NAME, with summary.json: how much
data and time they were trained on.
"""

import argparse
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from eyehand.checksums import load_tensors, read_json, save_tensors, write_json
from eyehand.data.lerobot import Dataset
from eyehand.envs.metaworld import METAWORLD, TIERS
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
from eyehand.functional.interval import hierarchical_interval
from eyehand.policies.registry import RELEASED

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
PUBLISHED = (
    # Name, sources of what it sees, tier mean, easy, medium, hard, very hard; None: not published.
    ("Diffusion Policy [1]", "picture, state", 10.5, None),
    ("TinyVLA-H 1.3B [1]", "picture, state, sentence", 31.6, None),
    ("SmolVLA 0.45B [2]", "picture, state, sentence", 57.3, None),
    ("SmolVLA 2.25B [2]", "picture, state, sentence", 68.2, (87.1, 51.8, 70.0, 64.0)),
    ("pi0 + PPO [3]", "picture, state, sentence", 78.1, (92.1, 74.6, 61.7, 84.0)),
    ("Evo-1 0.77B [4]", "also object poses", 80.6, None),
    ("FabriVLA 0.89B [5]", "also object poses", 90.0, (95.0, 88.2, 86.7, 90.0)),
)
SOURCES = """
[1] arXiv 2409.12514. [2] arXiv 2506.01844; an independent run of its released 0.45B checkpoint
reached 40.5. [3] RLinf's documentation. [4] arXiv 2511.04555. [5] arXiv 2607.08575; its checkpoint
was chosen on the evaluation.
"""
LEGEND = """In brackets 95 % intervals over start states, of one training: Wilson's for tasks; for
tiers and means one that respects which tasks share start states (`mean_interval`). The score is the
mean of the four tiers. `-plain` is the policy before any corrections: trained on 50 demonstrations
a task, which are pushed on the way, with a changed label of the gripper and taught landmarks, as
said below."""
EARLIER = """
Under `metaworld-v1` the first picture of an episode was that of another start state (Meta-World
moves objects after its last forward pass; in 29 tasks something stood more than 2 mm off), and all
tasks shared the random numbers of their start states, so that they succeeded and failed together.
"""
TRAINING = """
Demonstrations start from training seeds and are pushed on the way while the label stays the
expert's, except that it opens the hand where the expert leaves the fingers as they are. Experts are
Meta-World's; under `metaworld-v2` those of 22 tasks of picking something up are ours. In a
correction the policy drives to a random moment and the expert takes over; only the expert's part is
kept, and under `metaworld-v2` only one of three where the policy had succeeded. Landmarks are where
hand, objects and goal are in the picture: an auxiliary target of training
that the simulator gives, never an input.
"""
CONTROLS = """
The same start states with one thing taken away or exchanged. Intervals of v1 are Wilson's here.
Meta-World has no start states outside the distribution that the demonstrations come from, so none
are measured.
"""
SEVERAL = """The same recipe from several training seeds, on the same demonstrations. The interval
is a bootstrap over trainings, start states and tasks (`hierarchical_interval`): it speaks of
another training, other start states and other tasks like these; from so few trainings it is too
narrow."""
SEED = re.compile(r"-seed-\d+")
"""In the name of a run: its training seed, where that is not the usual one."""
LOW = 0.65
"""Tasks below it are listed by name."""


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


def release(out: Path) -> None:
    """Copy the last policy of a run into the package, its matrices in half precision.

    They are widened again on loading. Halves keep 11 bits, the products of training had 8.
    """
    policy, folder = policies_of(out)[-1], RELEASED / "mt50"
    folder.mkdir(parents=True, exist_ok=True)
    _copy(policy / "config.json", folder, out)
    weights = load_tensors(policy / "model.safetensors")
    save_tensors(
        folder / "model.safetensors",
        {name: value.half() if value.ndim > 1 else value for name, value in weights.items()},
    )


def _copy(file: Path, folder: Path, out: Path) -> None:
    """Copy what a run noted; where its folder was on that machine is nobody's business."""
    text = json.dumps(read_json(file))
    for path in (out.resolve(), out):
        text = text.replace(str(path), "outputs/mt50")
    write_json(folder / file.name, json.loads(text))


def add_run(name: str, out: Path) -> None:
    """Copy what `eyehand reproduce mt50` left into the handbook, with corrections or without."""
    policies = policies_of(out)
    targets = {0: f"{name}-plain"} | ({len(policies) - 1: name} if len(policies) > 1 else {})
    for rounds, target in targets.items():
        policy = policies[rounds]
        folder = FOLDER / "mt50" / target
        folder.mkdir(parents=True, exist_ok=True)
        _copy(out / f"evaluation-{policy.name}" / "results.json", folder, out)
        _copy(policy / "config.json", folder, out)
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


def read_runs() -> list[Run]:
    """Return every run in the handbook, best first."""
    runs = [
        Run(
            folder.name,
            _with_present_intervals(read_results(folder)),
            json.loads((folder / "summary.json").read_text()),
            json.loads((folder / "config.json").read_text())["policy"],
        )
        for folder in sorted((FOLDER / "mt50").iterdir())
    ]
    return sorted(runs, key=lambda run: -_mean(run.results))


def _with_present_intervals(results: Results) -> Results:
    """Return results whose means have this version's intervals, which respect shared seeds."""
    records = [
        EpisodeRecord("", task, seed, "", success, steps, 0.0, "")
        for task, seed, success, steps in results.episodes
    ]
    return replace(
        results,
        groups=group_results(METAWORLD, records),
        score=score(METAWORLD, records),
        task_mean=task_mean(records),
    )


def _mean(results: Results) -> float:
    assert results.score is not None
    return results.score.value


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _hundred(value: float) -> str:
    return f"{100 * value:.1f}"


def headline(runs: list[Run]) -> list[str]:
    """Return the table of scores: ours, then published ones."""
    rows = [
        _row(
            "policy",
            "protocol",
            "sees",
            "tier mean",
            *(tier.replace("-", " ") for tier in TIERS),
            "50 tasks",
        ),
        _row(*["---"] * (len(TIERS) + 5)),
    ]
    for run in runs:
        found = run.results
        assert found.score is not None
        rows.append(
            _row(
                f"**eyehand {run.name}**",
                f"`{found.protocol}`, seeds {found.seeds[0]:,} to {found.seeds[1]:,}",
                "picture, state, sentence",
                f"**{_hundred(found.score.value)}** ({percent_range(found.score.interval)})",
                *(
                    f"{_hundred(found.groups[tier].success_rate)} "
                    f"({percent_range(found.groups[tier].interval)})"
                    for tier in TIERS
                ),
                f"{_hundred(found.task_mean.value)} ({percent_range(found.task_mean.interval)})",
            )
        )
    for name, sees, mean, tiers in PUBLISHED:
        rows.append(_row(name, "their own", sees, mean, *(tiers or [""] * len(TIERS)), ""))
    return rows


def trainings(runs: list[Run]) -> list[str]:
    """Return the table of recipes that were trained from several seeds; none where none was."""
    again: dict[str, list[Run]] = {}
    for run in runs:
        again.setdefault(SEED.sub("", run.name), []).append(run)
    rows = []
    for name, own in again.items():
        if len(own) > 1:
            success = np.stack([_successes(run.results) for run in own])
            tier = np.repeat(np.arange(len(TIERS)), [len(tasks) for tasks in TIERS.values()])
            interval = hierarchical_interval(success, tier)
            each = ", ".join(_hundred(_mean(run.results)) for run in own)
            mean = sum(_mean(run.results) for run in own) / len(own)
            rows.append(
                _row(
                    name,
                    each,
                    _hundred(mean),
                    f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
                )
            )
    if not rows:
        return []
    head = _row("policy", "tier mean of each training", "their mean", "95 % interval")
    return [SEVERAL, "", head, _row(*["---"] * 4), *rows]


def _successes(results: Results) -> Bool[np.ndarray, "task seed"]:
    """Return whether each episode succeeded, tasks in the order of their tiers."""
    won = {(task, seed): success for task, seed, success, _ in results.episodes}
    first, last = results.seeds
    return np.array(
        [[won[task, seed] for seed in range(first, last + 1)] for task in METAWORLD.tasks]
    )


def data(runs: list[Run]) -> list[str]:
    """Return the table of what each policy was trained on."""
    rows = [
        _row(
            "policy",
            "demonstrations",
            "corrections",
            "frames",
            "minutes of training",
            "privileged in training",
        ),
        _row(*["---"] * 6),
    ]
    for run in runs:
        summary = run.summary
        rows.append(
            _row(
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
            _row(
                "control",
                "success",
                "95 % interval",
                "without it",
                "tier mean",
                "without it",
                "tasks",
            ),
            _row(*["---"] * 7),
        ]
        for name, probe in run.results.probes.items():
            lines.append(_control_row(name, probe))
        lines.append("")
    return lines


def _control_row(name: str, probe: ProbeResult) -> str:
    means = [
        "" if mean is None else _hundred(mean.value) for mean in (probe.score, probe.unprobed_score)
    ]
    return _row(
        name,
        f"{probe.successes}/{probe.episodes}",
        percent_range(probe.interval),
        f"{probe.unprobed.successes}/{probe.unprobed.episodes}",
        *means,
        len(probe.tasks),
    )


def tasks(runs: list[Run]) -> list[str]:
    """Return the table of every task."""
    rows = [_row("task", "tier", *(run.name for run in runs)), _row(*["---"] * (len(runs) + 2))]
    for tier, names in TIERS.items():
        rows += [
            _row(name, tier, *(_task(run.results.tasks[name]) for run in runs)) for name in names
        ]
    return rows


def _task(result: TaskResult) -> str:
    return f"{result.successes}/{result.episodes} ({percent_range(result.interval)})"


def weak(run: Run) -> str:
    """Return the sentence that names the tasks below 65 %."""
    low = [name for name, result in run.results.tasks.items() if result.success_rate < LOW]
    return f"{run.name}: {', '.join(low) if low else 'none'}."


def page(runs: list[Run]) -> str:
    """Return the whole page."""
    first = runs[0].results
    seen = first.observation
    low, high = first.seeds
    parts = [
        "# Meta-World MT50",
        "<!-- Written by benchmarks/mt50.py from the results in docs/benchmarks/mt50/. -->",
        f"One policy for all fifty tasks. It sees "
        f"{seen['picture']} of camera {seen['camera']}, the state ({seen['state']}) "
        f"and the sentence; privileged at test: {seen['privileged']}. "
        f"{high - low + 1} episodes a task. {LEGEND}",
        "\n".join(headline(runs)),
        SOURCES,
        "\n".join(trainings(runs)),
        *([EARLIER] if any(run.results.protocol == "metaworld-v1" for run in runs) else []),
        "## What they were trained on",
        "\n".join(data(runs)),
        TRAINING,
        "## Controls",
        CONTROLS,
        "\n".join(controls(runs)),
        "## Every task",
        "\n".join(tasks(runs)),
        "Below 65 %:",
        "\n".join(f"- {weak(run)}" for run in runs),
        "## Again",
        "\n".join(["```bash", *(run.results.command for run in runs), "```"]),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def main() -> None:
    """Parse, copy, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs=2, metavar=("NAME", "OUT"), help="a run to copy first")
    parser.add_argument("--release", type=Path, metavar="OUT", help="put its last policy into src")
    wanted = parser.parse_args()
    if wanted.release:
        release(wanted.release)
    if wanted.add:
        add_run(wanted.add[0], Path(wanted.add[1]))
    (FOLDER / "mt50.md").write_text(page(read_runs()))


if __name__ == "__main__":
    main()
