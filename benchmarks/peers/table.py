"""The comparison as one table: from the JSON of every stage to comparison.md and comparison.json.

Nothing is typed in: a stage that has not run has no row.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eyehand.evaluation.results import EpisodeRecord, percent, percent_range, rate, read_results
from eyehand.types import InputError

HEADINGS = (
    "policy", "trained on", "told its task by", "success", "n", "95 % interval", "seeds",
    "actions per plan", "steps", "batch", "training samples/s", "parameters, M",
    "one call, ms: p50 / p99", "peak memory, GB",
)  # fmt: skip


def gather(out: Path, *, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the stages in ``out`` found.

    Args:
        out: Folder of the comparison: ``SET/POLICY/training.json``,
            ``SET/POLICY/evaluation-ACTIONS/results.json`` and ``speed.json``.
        settings: What was asked for; goes into the answer as it is.

    Raises:
        InputError: If they were measured under different protocols.
    """
    file = out / "speed.json"
    speeds = json.loads(file.read_text()) if file.is_file() else {}
    summary = {name: summarize_speed(rounds) for name, rounds in speeds.items()}
    rows = []
    for training_file in out.glob("*/*/training.json"):
        training = json.loads(training_file.read_text())
        for results_file in training_file.parent.glob("evaluation-*/results.json"):
            rows.append(_row(training_file.parent, training, results_file, summary))
    protocols = {row["protocol"] for row in rows}
    if len(protocols) > 1:
        raise InputError(f"{out} mixes results of {' and '.join(sorted(protocols))}: run it anew.")
    rows.sort(key=lambda row: (len(row["tasks"]), row["set"], *_rank(row)))
    return {
        "settings": dict(settings),
        "rows": rows,
        "speed": summary,
        "ratios": ratios(summary),
    }


def _row(
    folder: Path, training: Mapping[str, Any], file: Path, speeds: Mapping[str, Any]
) -> dict[str, Any]:
    results = read_results(file)
    own = rate([
        EpisodeRecord("", task, seed, "", success, steps, 0.0, "")
        for task, seed, success, steps in results.episodes
    ])  # fmt: skip
    return {
        "protocol": results.protocol,
        "policy": folder.name,
        "set": folder.parent.name,
        "tasks": training["tasks"],
        "told_by": _told_by(folder.name, training["tasks"]),
        "success_rate": own.success_rate,
        "successes": own.successes,
        "episodes": own.episodes,
        "interval": own.interval,
        "seeds": results.seeds,
        "executed": int(file.parent.name.removeprefix("evaluation-")),
        "success_by_task": {
            task: [result.successes, result.episodes] for task, result in results.tasks.items()
        },
        "training": dict(training),
        "training_samples_per_second": training["samples"] / training["seconds"],
        "speed": speeds.get(folder.name),
    }


def _told_by(policy: str, tasks: Sequence[str]) -> str:
    if policy.startswith("bcz"):
        return "a sentence"
    return "a one-hot" if len(tasks) > 1 else "nothing: it has one"


def summarize_speed(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the medians of some rounds; calls of all rounds are taken together."""
    calls = [value for found in rounds for value in found["call_milliseconds"]]
    half, most = np.percentile(calls, [50, 99]).tolist()
    names = ("loader_samples_per_second", "step_samples_per_second")
    return {
        **{name: float(np.median([found[name] for found in rounds])) for name in names},
        "call_p50": half,
        "call_p99": most,
        "calls": len(calls),
        "rounds": len(rounds),
    }


def ratios(speeds: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return eyehand over LeRobot for each of LeRobot's policies; of latency, LeRobot over eyehand.

    Above 1 is in favour of eyehand everywhere.
    """
    if "bcz" not in speeds:
        return {}
    ours = speeds["bcz"]
    return {
        name: {
            "loader": ours["loader_samples_per_second"] / theirs["loader_samples_per_second"],
            "step": ours["step_samples_per_second"] / theirs["step_samples_per_second"],
            "call": theirs["call_p50"] / ours["call_p50"],
        }
        for name, theirs in speeds.items()
        if not name.startswith("bcz")
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    lines = ["# BC-Z beside LeRobot's policies", "", _conditions(found), ""]
    lines += _table(HEADINGS, [_cells(row) for row in found["rows"]])
    if found["ratios"]:
        lines += ["", "Ratios, from alternating rounds; above 1 is in favour of eyehand:", ""]
        lines += _table(
            ("BC-Z against", "loader, samples/s", "optimizer step, samples/s", "one call, p50"),
            [
                [name, *(f"{ratio[kind]:.1f}x" for kind in ("loader", "step", "call"))]
                for name, ratio in found["ratios"].items()
            ],
        )
    for trained_on in dict.fromkeys(row["set"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["set"] == trained_on]
        if len(rows[0]["tasks"]) > 1:
            lines += ["", f"Successes on each task, trained on {trained_on}:", ""]
            lines += _by_task(rows)
    lines += ["", "How each was trained:", ""]
    lines += [_training_line(row) for row in {_key(row): row for row in found["rows"]}.values()]
    lines += [
        "",
        "- BC-Z reads a sentence. ACT and Diffusion Policy read no language: a one-hot after the "
        "state names the task where there is more than one, which tells them what BC-Z has to "
        "understand.",
        "- Seconds to the first step: opening the data and building the policy; eyehand decodes "
        "the videos once, in the first run that opens a data set. They are not part of the time "
        "of training.",
        "- A sample is one frame with the chunk of actions after it; the networks differ in size, "
        "in the length of the chunk and in precision, so samples/s compares what a user gets in a "
        "given time, not two implementations of one network.",
        "- One call is one plan for one robot, on one thread. Between two plans as many actions "
        "are executed as the column says.",
        "- Memory is the largest sum over all processes of a training, pages of files aside; what "
        "several processes share counts once.",
    ]
    return "\n".join(lines) + "\n"


def _rank(row: Mapping[str, Any]) -> tuple[bool, str, int]:
    """Order within a set: eyehand first, and each policy's own default first."""
    return not row["policy"].startswith("bcz"), row["policy"], -row["executed"]


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["policy"], row["set"]


def _conditions(found: Mapping[str, Any]) -> str:
    settings = found["settings"]
    protocol = " and ".join(sorted({row["protocol"] for row in found["rows"]}))
    return (
        f"Protocol `{protocol}`, {settings['minutes']:g} minutes of training each, "
        f"{settings['cores']} cores, data set `{Path(settings['data']).name}` of "
        f"{settings['frames']:,} frames, "
        f"camera {settings['camera']}, {settings['picture']} pixels, "
        f"{settings['episodes']} episodes per task from seed {settings['seed']} on, "
        f"training seed {settings['training_seed']}. Made by `{settings['command']}`."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    training, speed = row["training"], row["speed"]
    parameters = f"{training['parameters_trained'] / 1e6:.1f}"
    if training["parameters_frozen"]:
        parameters += f" + {training['parameters_frozen'] / 1e6:.1f} frozen"
    tasks = row["tasks"]
    call = f"{speed['call_p50']:.1f} / {speed['call_p99']:.1f}" if speed else "not measured"
    return [
        row["policy"],
        tasks[0] if len(tasks) == 1 else f"{row['set']} ({len(tasks)} tasks)",
        row["told_by"],
        percent(row["success_rate"]),
        f"{row['successes']}/{row['episodes']}",
        percent_range(tuple(row["interval"])),
        "{}-{}".format(*row["seeds"]),
        str(row["executed"]),
        f"{training['steps']:,}",
        str(training["batch_size"]),
        f"{row['training_samples_per_second']:.0f}",
        parameters,
        call,
        f"{training['peak_memory'] / 1e9:.2f}",
    ]


def _by_task(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    headings = ["task", *(f"{row['policy']}, {row['executed']} per plan" for row in rows)]
    counts = [
        [task, *("{}/{}".format(*row["success_by_task"][task]) for row in rows)]
        for task in rows[0]["tasks"]
    ]
    return _table(headings, counts)


def _training_line(row: Mapping[str, Any]) -> str:
    training = row["training"]
    changed = ", ".join(f"`{name}={value}`" for name, value in training["changes"].items())
    versions = ", ".join(f"{name} {number}" for name, number in training["versions"].items())
    return (
        f"- {row['policy']} on {row['set']}: {training['frames']:,} frames, "
        f"{training['seconds']:.0f} s of steps, {training['preparation_seconds']:.0f} s to the "
        f"first step, {training['precision']}, loader: {training['loader']}; not its default: "
        f"{changed or 'nothing'}; {versions}."
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def write(out: Path, *, settings: Mapping[str, Any]) -> Path:
    """Write comparison.json and comparison.md into ``out``; return the latter."""
    found = gather(out, settings=settings)
    (out / "comparison.json").write_text(json.dumps(found, indent=1))
    (out / "comparison.md").write_text(markdown(found))
    return out / "comparison.md"
