"""Writes docs/benchmarks/mt50.md from what `eyehand reproduce mt50` left; nothing in it is typed.

    python -m benchmarks.mt50                                  # from docs/benchmarks/mt50/NAME/
    python -m benchmarks.mt50 --add bcz outputs/mt50           # copy the results of a run first
    python -m benchmarks.mt50 --add bcz-seed-1 outputs/seed-1  # the same from another training seed
    python -m benchmarks.mt50 --release mt50 outputs/mt50      # its last policy becomes `mt50`

Of a run's first policy, before corrections, and of its last, results.json
and config.json are kept in docs/benchmarks/mt50/NAME-plain and NAME, with summary.json: how much
data and time they were trained on.
"""

import argparse
import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from benchmarks.result_pages import (
    FOLDER,
    Run,
    add_run,
    controls,
    data,
    hundred,
    mean_of,
    rate_text,
    read_runs,
    release,
    row,
)
from eyehand.envs.metaworld import METAWORLD, TIERS
from eyehand.evaluation.results import Results, percent_range
from eyehand.functional.interval import hierarchical_interval

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


def headline(runs: list[Run]) -> list[str]:
    """Return the table of scores: ours, then published ones."""
    rows = [
        row(
            "policy",
            "protocol",
            "sees",
            "tier mean",
            *(tier.replace("-", " ") for tier in TIERS),
            "50 tasks",
        ),
        row(*["---"] * (len(TIERS) + 5)),
    ]
    for run in runs:
        found = run.results
        assert found.score is not None
        rows.append(
            row(
                f"**eyehand {run.name}**",
                f"`{found.protocol}`, seeds {found.seeds[0]:,} to {found.seeds[1]:,}",
                "picture, state, sentence",
                f"**{hundred(found.score.value)}** ({percent_range(found.score.interval)})",
                *(
                    f"{hundred(found.groups[tier].success_rate)} "
                    f"({percent_range(found.groups[tier].interval)})"
                    for tier in TIERS
                ),
                f"{hundred(found.task_mean.value)} ({percent_range(found.task_mean.interval)})",
            )
        )
    for name, sees, mean, tiers in PUBLISHED:
        rows.append(row(name, "their own", sees, mean, *(tiers or [""] * len(TIERS)), ""))
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
            each = ", ".join(hundred(mean_of(run.results)) for run in own)
            mean = sum(mean_of(run.results) for run in own) / len(own)
            rows.append(
                row(
                    name,
                    each,
                    hundred(mean),
                    f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
                )
            )
    if not rows:
        return []
    head = row("policy", "tier mean of each training", "their mean", "95 % interval")
    return [SEVERAL, "", head, row(*["---"] * 4), *rows]


def _successes(results: Results) -> Bool[np.ndarray, "task seed"]:
    """Return whether each episode succeeded, tasks in the order of their tiers."""
    won = {(task, seed): success for task, seed, success, _ in results.episodes}
    first, last = results.seeds
    return np.array(
        [[won[task, seed] for seed in range(first, last + 1)] for task in METAWORLD.tasks]
    )


def tasks(runs: list[Run]) -> list[str]:
    """Return the table of every task."""
    rows = [row("task", "tier", *(run.name for run in runs)), row(*["---"] * (len(runs) + 2))]
    for tier, names in TIERS.items():
        rows += [
            row(name, tier, *(rate_text(run.results.tasks[name]) for run in runs)) for name in names
        ]
    return rows


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
    parser.add_argument(
        "--release", nargs=2, metavar=("NAME", "OUT"), help="put a run's last policy into src"
    )
    wanted = parser.parse_args()
    if wanted.release:
        release(wanted.release[0], Path(wanted.release[1]))
    if wanted.add:
        add_run("mt50", wanted.add[0], Path(wanted.add[1]))
    (FOLDER / "mt50.md").write_text(page(read_runs("mt50", METAWORLD)))


if __name__ == "__main__":
    main()
