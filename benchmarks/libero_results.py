"""Writes docs/benchmarks/libero.md from results; nothing in it is typed.

    python -m benchmarks.libero_results                     # from docs/benchmarks/libero/
    python -m benchmarks.libero_results --add bcz OUT       # copy the results of a run first
    python -m benchmarks.libero_results --pro bcz OUT       # four evaluations: OUT/swap, ...
    python -m benchmarks.libero_results --chains bcz OUT
    python -m benchmarks.libero_results --release OUT       # its last policy becomes `libero`

Results are kept in docs/benchmarks/libero/NAME; those of the experts, which benchmarks/experts.py
writes, in docs/benchmarks/libero/experts.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import result_pages
from benchmarks.result_pages import (
    FOLDER,
    Run,
    add_run,
    controls,
    copy_json,
    data,
    hundred,
    rate_text,
    read_runs,
    release,
    row,
)
from eyehand.envs.libero import LIBERO
from eyehand.envs.libero_files import GROUPS, VARIANTS
from eyehand.evaluation.chain import ChainResults, read_chains
from eyehand.evaluation.results import Rate, percent_range, read_results

PUBLISHED = (
    # Name, what it learns from, spatial, object, goal, 10, mean; None: not published so.
    ("OpenVLA 7B [1]", "teleoperation", 84.7, 88.4, 79.2, 53.7, 76.5),
    ("MINERVA 0.54M, without language [2]", "teleoperation", None, None, None, None, 95.0),
    ("OpenVLA-OFT 7B [3]", "teleoperation", 97.6, 98.4, 97.9, 94.5, 97.1),
    ("SimpleVLA-RL [4]", "teleoperation, then practice", None, None, None, None, 99.1),
)
SOURCES = """
[1] arXiv 2406.09246. [2] k1000dai/MINERVA; it reads a task number. [3] arXiv 2502.19645.
[4] arXiv 2509.09674.
"""
SEEN = """
Published policies learn from LIBERO's own demonstrations, 50 a task, which people gave by
teleoperation. Ours learns from demonstrations that a program gave
(`src/eyehand/envs/libero_experts.py`), in start states drawn anew from the tasks' regions: the 50
official ones are for the evaluation alone. So the rows are not like for like. Each official start
state is one episode; the 95 % interval is Wilson's for a task, and for means one that respects
which tasks share a number of start state.
"""
PRO = """
The same policy in the same tasks as LIBERO-PRO changes them (Zhou et al., 2025, arXiv 2510.03827):
things change places, things look different, the sentence is another of the same meaning, sentence
and goal are others. {episodes} start states a task. Nothing was trained on them or chosen by them.
Where `task` turns `turn_on_the_stove` into turning it off, the knob begins at the very value at
which it is on: a touch is a success.
"""
CHAINS = """
Five of LIBERO-Goal's ten tasks told one after another without a reset, up to the first failure, as
CALVIN measures (`src/eyehand/envs/libero_chains.py` says which go together). RoboFlamingo's figures
are for CALVIN's chains of its own tasks, so they show the ablation's shape, no more.
"""


def headline(runs: list[Run]) -> list[str]:
    """Return the table of success rates: ours, then published ones."""
    rows = [
        row("policy", "learns from", *(f"{group}, %" for group in GROUPS), "mean"),
        row(*["---"] * (len(GROUPS) + 3)),
    ]
    for run in runs:
        found = run.results
        assert found.score is not None
        rows.append(
            row(
                f"**eyehand {run.name}**",
                "a scripted expert",
                *(
                    f"{hundred(found.groups[group].success_rate)} "
                    f"({percent_range(found.groups[group].interval)})"
                    for group in GROUPS
                ),
                f"**{hundred(found.score.value)}** ({percent_range(found.score.interval)})",
            )
        )
    for name, source, *figures in PUBLISHED:
        rows.append(row(name, source, *("" if one is None else one for one in figures)))
    return rows


def experts(found: list[dict[str, Any]]) -> list[str]:
    """Return the table of the scripted experts."""
    strengths = sorted({one["perturbation"] for one in found})
    by_task = {(one["task"], one["perturbation"]): one for one in found}
    heads = ["alone" if not strength else f"pushed, {strength:g}" for strength in strengths]
    rows = [row("task", "suite", *heads, "actions"), row(*["---"] * (len(heads) + 3))]
    for group, names in GROUPS.items():
        for name in names:
            own = [by_task[name, strength] for strength in strengths]
            rates = [Rate.of(sum(one["successes"]), len(one["successes"])) for one in own]
            cells = [
                f"{rate.successes}/{rate.episodes} ({percent_range(rate.interval)})"
                for rate in rates
            ]
            rows.append(row(name, group, *cells, round(float(np.mean(own[0]["steps"])))))
    return rows


def pro(run: Run, folder: Path) -> list[str]:
    """Return the table of LIBERO-PRO for a policy."""
    rows = [row("", *GROUPS), row(*["---"] * (len(GROUPS) + 1))]
    usual = run.results
    cells = [hundred(usual.groups[group].success_rate) for group in GROUPS]
    rows.append(row("as it is", *cells))
    for variant in VARIANTS:
        changed = read_results(folder / variant)
        cells = [
            f"{hundred(changed.groups[group].success_rate)} "
            f"({percent_range(changed.groups[group].interval)})"
            for group in GROUPS
        ]
        rows.append(row(variant, *cells))
    return rows


def chain_table(found: dict[str, ChainResults]) -> list[str]:
    """Return the table of chains, one row a policy."""
    rows = [
        row("policy", *(f"{number} in a row, %" for number in range(1, 6)), "average length", "n"),
        row(*["---"] * 8),
    ]
    for name, chains in found.items():
        low, high = chains.interval
        rows.append(
            row(
                name,
                *(hundred(rate.success_rate) for rate in chains.in_a_row),
                f"**{chains.average_length:.2f}** ({low:.2f} to {high:.2f})",
                len(chains.chains),
            )
        )
    return rows


def every_task(runs: list[Run]) -> list[str]:
    """Return the table of every task."""
    rows = [row("task", "suite", *(run.name for run in runs)), row(*["---"] * (len(runs) + 2))]
    for group, names in GROUPS.items():
        for name in names:
            rows.append(row(name, group, *(rate_text(run.results.tasks[name]) for run in runs)))
    return rows


def page() -> str:
    """Return the whole page."""
    folder, runs = result_pages.FOLDER / "libero", read_runs("libero", LIBERO)
    parts = [
        "# LIBERO",
        "<!-- Written by benchmarks/libero_results.py from docs/benchmarks/libero/. -->",
    ]
    if runs:
        first = runs[0].results
        parts += [
            f"One policy for all forty tasks, protocol `{first.protocol}`. It sees "
            f"{first.observation['picture']} of {first.observation['camera']}, the state "
            f"({first.observation['state']}) and the sentence; privileged at test: "
            f"{first.observation['privileged']}.",
            "\n".join(headline(runs)),
            SOURCES,
            SEEN,
            "## What they were trained on",
            "\n".join(data(runs)),
            "## Controls",
            "\n".join(controls(runs)),
        ]
    for run in runs:
        if (folder / run.name / "pro").is_dir():
            seeds = read_results(folder / run.name / "pro" / "swap").seeds
            parts += [
                f"## LIBERO-PRO: {run.name}",
                PRO.format(episodes=seeds[1] - seeds[0] + 1),
                "\n".join(pro(run, folder / run.name / "pro")),
            ]
    chains = {one.name: read_chains(one) for one in sorted(folder.iterdir()) if one.is_dir()}
    told = {name: found for name, found in chains.items() if found is not None}
    if told:
        parts += ["## Five in a row", CHAINS, "\n".join(chain_table(told))]
    if runs:
        parts += ["## Every task", "\n".join(every_task(runs))]
    if (folder / "experts.json").is_file():
        found = json.loads((folder / "experts.json").read_text())
        first_seed, last_seed = found[0]["seeds"]
        parts += [
            "## The scripted experts",
            f"Successes in start states drawn anew, seeds {first_seed:,} to {last_seed:,}: alone, "
            "and with the pushes of a recording. They read the poses of all objects.",
            "\n".join(experts(found)),
        ]
    if runs:
        again = [
            "```bash",
            "eyehand reproduce libero",
            *(run.results.command for run in runs),
            "```",
        ]
        parts += ["## Again", "\n".join(again)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def main() -> None:
    """Parse, copy, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, what in (("add", "a run"), ("pro", "LIBERO-PRO"), ("chains", "chains")):
        parser.add_argument(f"--{name}", nargs=2, metavar=("NAME", "OUT"), help=f"{what} to copy")
    parser.add_argument("--release", type=Path, metavar="OUT", help="put its last policy into src")
    wanted = parser.parse_args()
    folder = FOLDER / "libero"
    folder.mkdir(exist_ok=True)
    if wanted.release:
        release("libero", wanted.release)
    if wanted.add:
        add_run("libero", wanted.add[0], Path(wanted.add[1]))
    if wanted.pro:
        name, out = wanted.pro
        for variant in VARIANTS:
            target = folder / name / "pro" / variant
            target.mkdir(parents=True, exist_ok=True)
            found = read_results(Path(out) / variant).suite
            if found != f"libero-pro-{variant}":
                parser.error(f"{out}/{variant} holds results of {found}.")
            copy_json(Path(out) / variant / "results.json", target, Path(out))
    if wanted.chains:
        name, out = wanted.chains
        (folder / name).mkdir(parents=True, exist_ok=True)
        copy_json(Path(out) / "chains.json", folder / name, Path(out))
    (FOLDER / "libero.md").write_text(page())


if __name__ == "__main__":
    main()
