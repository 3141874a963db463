"""A thousand kills, damaged files, hostile clients, bad command lines: what breaks eyehand.

Run:
    OMP_NUM_THREADS=1 python -m benchmarks.reliability [--part kills] [--count 20] [--jobs 2]
    python -m benchmarks.reliability --table

Every finding is a line of ``OUT/results.jsonl`` with its seed and the commit. A campaign that was
stopped goes on where it was, as long as the commit is the same; what failed keeps its folder, and
is repeated by the same ``--seed`` and ``--only NUMBER``. At the end the page in docs is written
from the results file; ``--table`` does only that.
"""

import argparse
import gc
import importlib
import json
import os
import platform
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import (
    reliability_commands,
    reliability_flips,
    reliability_kills,
    reliability_messages,
    reliability_process,
)
from eyehand.files import source_commit

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "reliability.md"
COUNTS = {"kills": 1000, "flips": 3000, "messages": 10_000, "commands": 200}
"""Every part, and how much of it the figures ask for."""
CONNECTIONS_PER_MESSAGE = 0.05
SECONDS = {"kills": 1800.0, "flips": 120.0, "messages": 400.0, "commands": 30.0}
"""Longest trial; what takes longer has failed."""
IMPORTED = (
    "eyehand.cli.record", "eyehand.cli.train", "eyehand.cli.eval", "eyehand.cli.serve",
    "eyehand.cli.live", "eyehand.policies.bcz", "eyehand.policies.heads.regression",
    "eyehand.envs.metaworld", "eyehand.envs.two_ways", "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert", "torch.utils.tensorboard",
)  # fmt: skip
"""What a trial, which is a fork of this process, need not import any more."""

Finding = dict[str, Any]


def trials(part: str, count: int, seed: int) -> list[Any]:
    """Return what is to be tried: its number comes first, or is its field ``number``."""
    if part == "kills":
        return list(reliability_kills.chains(count, seed))
    if part == "flips":
        return list(reliability_flips.flips(count, seed))
    if part == "messages":
        return list(reliability_messages.blocks(count, seed))
    return list(reliability_commands.lines(count, seed))


def prepare(part: str, base: Path) -> None:
    """Make what the trials of a part start from; what is there is kept."""
    if part == "kills":
        reliability_kills.prepare(base)
    elif part == "flips":
        reliability_flips.prepare(base)


def run_trial(part: str, trial: Any, seed: int, folder: Path, base: Path) -> Finding:
    """Do one trial; its finding has a list of ``problems``."""
    if part == "kills":
        return reliability_kills.run_chain(trial, seed, folder, base)
    if part == "flips":
        return reliability_flips.run_flip(trial, folder, base)
    if part == "messages":
        return reliability_messages.run_block(trial, folder, base)
    return reliability_commands.run_line(trial, folder)


def forked(
    function: Callable[[Any], Finding], items: Iterable[Any], *, jobs: int, seconds: float
) -> Iterator[tuple[Any, Finding]]:
    """Call a function for every item, in a fork of this process each, so many at the same time.

    A call that raises, dies or takes longer than ``seconds`` gives a problem that says so.
    """
    waiting, running = iter(items), dict[Connection, tuple[Any, int, float]]()
    try:
        while True:
            while len(running) < jobs and (item := next(waiting, None)) is not None:
                near, far = Pipe(duplex=False)
                pid = os.fork()
                if pid == 0:
                    _child(function, item, far)
                far.close()
                running[near] = item, pid, time.monotonic() + seconds
            if not running:
                return
            for pipe in wait(list(running), timeout=1.0):
                assert isinstance(pipe, Connection)
                item, pid, _ = running.pop(pipe)
                yield item, _result(pipe, pid)
            for _, pid, until in running.values():
                if time.monotonic() > until:
                    os.killpg(pid, signal.SIGKILL)  # its pipe ends, so the next round takes it
    finally:
        for _, pid, _ in running.values():
            os.kill(pid, signal.SIGTERM)


def _child(function: Callable[[Any], Finding], item: Any, pipe: Connection) -> None:
    try:
        os.setsid()  # so that it can be killed with its workers
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            found = function(item)
        except Exception as error:
            found = {
                "problems": [f"the trial failed: {''.join(traceback.format_exception(error))}"]
            }
        pipe.send_bytes(json.dumps(found).encode())
    finally:
        reliability_process.end_all()
        os._exit(0)


def _result(pipe: Connection, pid: int) -> Finding:
    try:
        found: Finding = json.loads(pipe.recv_bytes())
    except (EOFError, OSError):
        found = {}
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    pipe.close()
    return found or {"problems": [f"the process died or took too long (exit code {code})"]}


def read_results(file: Path, commit: str | None = None) -> list[Finding]:
    """Return the findings of a commit; without one, of each part's last commit.

    A line that a kill cut is passed over; of a trial that was repeated the last finding counts.
    """
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    for one in found:  # the page that a part has written is itself a local change
        one["commit"] = one["commit"].removesuffix("-dirty")
    latest = {one["part"]: one["commit"] for one in found}
    if commit:
        latest = dict.fromkeys(latest, commit.removesuffix("-dirty"))
    own = [one for one in found if one["commit"] == latest[one["part"]]]
    return list({(one["part"], one["seed"], one["number"]): one for one in own}.values())


def campaign(part: str, wanted: argparse.Namespace) -> None:
    """Do what is missing of a part, and note every finding at once."""
    base, results = wanted.out / "base", wanted.out / "results.jsonl"
    base.mkdir(parents=True, exist_ok=True)
    count = wanted.count or COUNTS[part]
    for name in IMPORTED:
        importlib.import_module(name)
    console = Console(stderr=True)
    if part == "flips":
        reliability_flips.warm_up()
    console.print(f"{part}: what it starts from", highlight=False)
    prepared = [
        found for _, found in forked(lambda _: _prepared(part, base), [0], jobs=1, seconds=900.0)
    ]
    if prepared[0]["problems"]:
        raise RuntimeError(prepared[0]["problems"][0])
    if wanted.only is None:
        done = {
            one["number"]
            for one in read_results(results, source_commit())
            if one["part"] == part and one["seed"] == wanted.seed
        }
        todo = [one for one in trials(part, count, wanted.seed) if one.number not in done]
    else:
        everything = trials(part, max(count, COUNTS[part]), wanted.seed)
        todo = [one for one in everything if one.number == wanted.only]
    jobs = wanted.jobs if part in ("kills", "flips") else 1  # the others are timed
    folder = wanted.out / part

    def one_trial(trial: Any) -> Finding:
        return run_trial(part, trial, wanted.seed, folder / str(trial.number), base)

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} failed"),
    )  # fmt: skip
    gc.freeze()
    failed, commit = 0, source_commit()
    # Without a thread of its own: a fork must not inherit a lock.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task(part, total=len(todo), failed=0)
        for trial, found in forked(one_trial, todo, jobs=jobs, seconds=SECONDS[part]):
            line = {
                "part": part, "number": trial.number, "seed": wanted.seed, "commit": commit, **found
            }  # fmt: skip
            with results.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            place = folder / str(trial.number)
            if found["problems"]:
                failed += 1
                progress.console.print(
                    f"{place}: {'; '.join(found['problems'])[:600]}", markup=False, highlight=False
                )
            else:
                shutil.rmtree(place, ignore_errors=True)
            progress.update(bar, advance=1, failed=failed, refresh=True)


def _prepared(part: str, base: Path) -> Finding:
    prepare(part, base)
    return {"problems": []}


def table(findings: Sequence[Finding]) -> str:
    """Return the table of the figures."""
    rows = [
        "| attack | done | asked for | what must not happen | happened |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    kills = [one for one in findings if one["part"] == "kills"]
    for verb, share in reliability_kills.SHARES.items():
        own = [one for one in kills if one.get("verb") == verb]
        done = sum(one["kills"] for one in own)
        asked = COUNTS["kills"] * share // sum(reliability_kills.SHARES.values())
        rows.append(
            _row(f"SIGKILL of `{verb}`", done, asked, "lost, doubled, orphaned", _broken(own))
        )
    flips = [one for one in findings if one["part"] == "flips"]
    for what in reliability_flips.TARGETS:
        own = [one for one in flips if one.get("target") == what]
        asked = COUNTS["flips"] // len(reliability_flips.TARGETS)
        rows.append(_row(f"damage in {what}", len(own), asked, "silent, traceback", _broken(own)))
    blocks = [one for one in findings if one["part"] == "messages"]
    messages = sum(one.get("messages", 0) for one in blocks)
    hostile = sum(one.get("connections", 0) for one in blocks)
    asked, lies = COUNTS["messages"], "answered as if good, server down"
    rows.append(_row("bad messages", messages, asked, lies, _broken(blocks)))
    times = [time for one in blocks for time in one.get("times_ms", ())]
    if times:
        median, late = np.quantile(times, [0.5, 0.99])
        memory = max(one["memory_mb"] for one in blocks)
        asked = round(asked * CONNECTIONS_PER_MESSAGE)
        rows.append(
            f"| hostile connections | {hostile:,} | {asked:,} | p99 of a calm client over 50 ms | "
            f"p50 {median:.1f} ms, p99 {late:.1f} ms |"
        )
        rows.append(
            f"| the same | {hostile:,} | {asked:,} | memory over 300 MB above calm | "
            f"{memory:.0f} MB |"
        )
    lines = [one for one in findings if one["part"] == "commands"]
    wrong = "not one sentence with exit code 2"
    rows.append(_row("bad command lines", len(lines), COUNTS["commands"], wrong, _broken(lines)))
    return "\n".join(rows)


def _row(attack: str, done: int, asked: int, what: str, happened: int) -> str:
    return f"| {attack} | {done:,} | {asked:,} | {what} | {happened:,} |"


def _broken(findings: Sequence[Mapping[str, Any]]) -> int:
    return sum(bool(one["problems"]) for one in findings)


def page(findings: Sequence[Finding]) -> str:
    """Return the page."""
    flips = Counter(one.get("outcome") for one in findings if one["part"] == "flips")
    said = ", ".join(f"{count:,} {outcome}" for outcome, count in flips.most_common())
    commits = ", ".join(
        f"{part} `{commit[:12]}`"
        for part, commit in {f["part"]: f["commit"] for f in findings}.items()
    )
    return f"""# Reliability

<!-- Written by benchmarks/reliability.py. -->

What was tried to break eyehand, and how often it broke. Measured on {date.today()} on
{os.cpu_count()} cores ({platform.machine()}), every part on one commit: {commits}.

{table(findings)}

- **Kills.** Chains of up to {reliability_kills.MOST_KILLS} kills of the main process alone, at
  moments drawn over the time that the command takes; it is begun again after each. At the end the
  data set is compared byte for byte with an undisturbed one, the weights bit for bit, the
  evaluation episode for episode; a server answers the same at the same port. An orphan is a
  process that lives {reliability_process.ORPHAN_SECONDS:g} s longer than its parent; no temporary
  file may be left. Kills run in forks of one process with the simulator of two discs; every tenth
  chain runs as a user's does, with Meta-World.
- **Damage.** One bit, one byte, 64 bytes of zeros, a cut, in one file drawn from all:
  {said or "none yet"}.
  Silent is another content without an error; refused is one sentence; unchanged is the right
  content, read or repaired.
- **Messages.** A thousand bad messages and fifty hostile connections at a time, against the
  released policy on one core; a calm client asks ten times a second from the other.
- **Command lines.** Drawn from `tests/bad_command_lines.toml`.

```bash
OMP_NUM_THREADS=1 python -m benchmarks.reliability --out outputs/reliability
```
"""


def main() -> None:
    """Try what is missing, write the page, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=[*COUNTS, "all"], default="all")
    parser.add_argument("--count", type=int, help="of the part; left out, what the figures ask for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat the trial with this number")
    parser.add_argument("--jobs", type=int, default=2, help="trials at the same time")
    parser.add_argument("--out", type=Path, default=Path("outputs/reliability"))
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--no-page", action="store_true", help="leave the page as it is")
    wanted = parser.parse_args()
    wanted.out = wanted.out.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the trials, too
    if not wanted.table:
        for part in COUNTS if wanted.part == "all" else [wanted.part]:
            campaign(part, wanted)
    findings = read_results(wanted.out / "results.jsonl")
    if not wanted.no_page:
        PAGE.write_text(page(findings), encoding="utf-8")
    print(table(findings))


if __name__ == "__main__":
    main()
