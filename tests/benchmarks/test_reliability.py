"""The campaign against eyehand, a little of each part; the whole is benchmarks/reliability.py."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import reliability, reliability_kills

ROOT = Path(__file__).parents[2]
SMALL = {"kills": 10, "flips": 20, "messages": 100, "commands": 20}


def finding(part: str, number: int, **more: Any) -> dict[str, Any]:
    return {"part": part, "number": number, "seed": 0, "commit": "a", "problems": [], **more}


def test_chains_have_as_many_kills_as_asked_for_in_their_shares() -> None:
    chains = list(reliability_kills.chains(1000, seed=0))
    assert chains == list(reliability_kills.chains(1000, seed=0))
    assert chains[:40] == list(reliability_kills.chains(1000, seed=0))[:40]
    kills = dict.fromkeys(reliability_kills.SHARES, 0)
    for chain in chains:
        kills[chain.verb] += chain.kills
    assert sum(kills.values()) == 1000
    for verb, share in reliability_kills.SHARES.items():
        assert abs(kills[verb] - 50 * share) <= reliability_kills.MOST_KILLS
    assert {chain.verb for chain in chains if chain.real} == set(kills)


def test_a_campaign_goes_on_after_a_line_that_a_kill_cut(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    lines = [finding("flips", 0, commit="b"), finding("flips", 0), finding("flips", 1)]
    again = finding("flips", 1, problems=["silent"])
    text = "".join(json.dumps(line) + "\n" for line in (*lines, again))
    file.write_text(text + '{"part": "fl')
    assert reliability.read_results(file) == [lines[1], again]
    assert reliability.read_results(file, "b") == lines[:1]
    assert reliability.read_results(tmp_path / "none") == []
    other = finding("kills", 0, commit="c-dirty")
    file.write_text(text + json.dumps(other) + "\n")  # every part is of its own last commit
    assert reliability.read_results(file) == [lines[1], again, {**other, "commit": "c"}]


def test_the_table_counts_what_was_done_and_what_broke() -> None:
    found = [
        finding("kills", 0, verb="record", kills=5),
        finding("kills", 1, verb="record", kills=2, problems=["orphan: x", "lost: y"]),
        finding("flips", 0, target="a run", outcome="refused"),
        finding("messages", 0, messages=900, connections=45, times_ms=[1.0, 3.0], memory_mb=12.0),
    ]
    table = reliability.table(found)
    assert "| SIGKILL of `record` | 7 | 250 | lost, doubled, orphaned | 1 |" in table
    assert "| damage in a run | 1 | 600 | silent, traceback | 0 |" in table
    assert "| bad messages | 900 | 10,000 |" in table
    assert "p50 2.0 ms" in table
    assert "1 refused" in reliability.page(found)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of threads
def test_a_trial_that_raises_or_dies_is_a_problem() -> None:
    def trial(number: int) -> dict[str, Any]:
        if number == 1:
            raise ValueError("lost")
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"problems": []}

    found = dict(reliability.forked(trial, [3, 1, 2], jobs=2, seconds=60))
    assert found[3]["problems"] == []
    assert "lost" in found[1]["problems"][0]
    assert "exit code -9" in found[2]["problems"][0]


def test_a_difference_from_the_undisturbed_result_is_found(tmp_path: Path) -> None:
    wanted, found = tmp_path / "data-two-ways", tmp_path / "found"
    for folder in (wanted, found):
        (folder / "meta").mkdir(parents=True)
        (folder / "meta" / "info.json").write_text("{}")
        (folder / ".lock").write_text(folder.name)
    assert reliability_kills.compare("record", found, tmp_path, "two-ways") == []
    (found / "meta" / "info.json").write_text("{ }")
    (found / "meta" / "stats.json.partial").write_text("")
    problems = reliability_kills.compare("record", found, tmp_path, "two-ways")
    assert problems == ["left over: ['meta/stats.json.partial']", "differs: meta/info.json"]


@pytest.mark.slow
@pytest.mark.parametrize("part", SMALL)
def test_a_little_of_the_campaign_breaks_nothing(part: str, tmp_path: Path) -> None:
    seed = random.Random(part).randrange(1000)
    words = ["--part", part, "--count", str(SMALL[part]), "--seed", str(seed), "--no-page"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability", *words, "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    findings = reliability.read_results(tmp_path / "results.jsonl")
    assert findings
    assert [(one["number"], one["problems"]) for one in findings if one["problems"]] == []
