"""Tables say what was measured, and call a difference real only where the pairs say so."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from eyehand.evaluation.comparison import (
    ComparedRun,
    comparison_plot,
    comparison_table,
    differences,
    differences_text,
)
from eyehand.types import InputError


def run(name: str, won: list[bool], **changes: object) -> ComparedRun:
    made = ComparedRun(
        changes={"policy.head": name},
        episodes=[("reach", seed, success, 9) for seed, success in enumerate(won)],
        loss=0.25,
        parameters=12_345,
        samples_per_second=678.0,
        training_steps=90,
        median_ms=1.5,
        p99_ms=2.5,
        passes=10.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


GOOD = run("flow", [True] * 20)
MIDDLE = run("mlp", [True] * 18 + [False] * 2)
BAD = run("lstm", [True] * 8 + [False] * 12)


def test_every_pair_with_the_better_one_first() -> None:
    found = differences([BAD, MIDDLE, GOOD])
    assert [(one.better.name, one.worse.name) for one in found] == [
        ("policy.head=mlp", "policy.head=lstm"),
        ("policy.head=flow", "policy.head=lstm"),
        ("policy.head=flow", "policy.head=mlp"),
    ]
    # By hand: 10, 12 and 2 discordant pairs, all one way; Holm multiplies by 2, 3, 1.
    alone = [2 / 2**10, 2 / 2**12, 2 / 2**2]
    assert [one.p_value for one in found] == pytest.approx([2 * alone[0], 3 * alone[1], alone[2]])
    assert [one.is_real for one in found] == [True, True, False]


def test_pairs_are_of_the_same_start_not_of_the_same_place() -> None:
    other = replace(MIDDLE, episodes=[("reach", 7 + seed, True, 9) for seed in range(20)])
    with pytest.raises(InputError, match=r"policy\.head=mlp was not measured on the start states"):
        differences([GOOD, other])


def test_episodes_of_one_seed_are_one_draw() -> None:
    """Ten tasks that fail together on two seeds are two differences, not twenty."""

    def many(name: str, fails: int) -> ComparedRun:
        episodes = [(f"task-{n}", seed, seed >= fails, 9) for n in range(10) for seed in range(20)]
        return run(name, [], episodes=episodes)

    (found,) = differences([many("good", 0), many("bad", 2)])
    assert found.p_value == 0.5
    low, high = many("bad", 2).rate.interval
    assert high - low > 0.2  # twenty seeds, not two hundred episodes


def test_the_text_names_real_differences_and_says_where_none_was_shown() -> None:
    text = differences_text([BAD, MIDDLE, GOOD])
    assert "over 3 pairs" in text
    assert "- policy.head=flow over policy.head=lstm: +60.0 points, p = 0.0015" in text
    assert "flow over policy.head=mlp" not in text
    assert "Between all other pairs: no difference shown." in text
    alone = differences_text([MIDDLE, GOOD])
    assert alone.startswith("No difference shown (exact sign-flip test on the same 20 start states")
    assert "(20 seeds)" in alone
    assert differences_text([GOOD]) == ""


def test_the_table_has_a_row_a_run_best_first() -> None:
    lines = comparison_table([BAD, GOOD, run("mlp", [True], changes={"x": "1"})]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:3] == ["policy.head", "x", "success"]
    assert {len(row) for row in cells} == {12}
    assert [row[0] for row in cells[2:]] == ["flow", "", "lstm"]
    assert cells[2][2:] == [
        "100.0 %", "83.9 to 100.0", "20/20", "0.2500", "90", "12,345", "678", "1.5", "2.5", "10",
    ]  # fmt: skip


def test_the_plot_is_a_picture_with_a_mark_for_every_run() -> None:
    names = {"svg": "http://www.w3.org/2000/svg"}
    root = ET.fromstring(comparison_plot([BAD, GOOD], title="Heads <1>"))
    marks = root.findall("svg:circle", names)
    assert [float(mark.attrib["cx"]) for mark in marks] == [700.0, 460.0]  # 300 + 4 per point
    assert "Heads <1>" in [text.text for text in root.findall("svg:text", names)]


def test_equal_runs_differ_by_nothing_and_one_run_has_no_pair() -> None:
    (same,) = differences([GOOD, GOOD])
    assert same.p_value == 1.0
    assert differences([GOOD]) == []


def test_chains_have_their_average_length() -> None:
    told = replace(MIDDLE, chain_length=5)
    head, _, row = comparison_table([told]).splitlines()
    assert head.split(" | ")[1:3] == ["average length", "success"]
    assert row.split(" | ")[1:3] == ["4.50", "90.0 %"]  # five times the rate
    assert "average length" not in comparison_table([MIDDLE])
