"""The page of LIBERO: every figure in it stands in the files it is made from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import libero_results, result_pages
from eyehand.envs.libero import LIBERO, OFFICIAL
from eyehand.envs.libero_files import GROUPS, VARIANTS
from eyehand.evaluation.results import Results, write_results

MakeResults = Callable[..., Results]


def row(page: str, start: str) -> list[str]:
    """Return the cells of the first row that begins with ``start``."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_results: MakeResults) -> Path:
    """What a run of 10 episodes a task, LIBERO-PRO and the experts leave."""
    monkeypatch.setattr(result_pages, "FOLDER", tmp_path)
    made = tmp_path / "libero"
    summary = {"demonstrations": 7, "corrections": 0, "frames": 9, "training_minutes": 90.0}

    def write(place: Path, episodes: int, failing: int) -> None:
        place.mkdir(parents=True)
        results = made_results(
            LIBERO.tasks, first=OFFICIAL, episodes=episodes, failing=failing, suite=LIBERO
        )
        write_results(results, place / "results.json")

    write(made / "bcz-plain", 10, 2)
    (made / "bcz-plain" / "summary.json").write_text(json.dumps(summary))
    (made / "bcz-plain" / "config.json").write_text(json.dumps({"policy": {"landmarks": 4}}))
    for variant in VARIANTS:
        write(made / "bcz-plain" / "pro" / variant, 5, 4)
    tries = [
        {"task": task, "perturbation": strength, "seeds": [10_000, 10_003],
         "successes": [True, True, strength == 0, True], "steps": [50, 60, 70, 80]}
        for task in LIBERO.tasks
        for strength in (0.0, 0.4)
    ]  # fmt: skip
    (made / "experts.json").write_text(json.dumps(tries))
    return made


def test_every_figure_is_in_the_page(folder: Path) -> None:
    page = libero_results.page()
    ours = row(page, "**eyehand bcz-plain**")
    assert [cell.split(" ")[0] for cell in ours[2:-1]] == ["80.0"] * len(GROUPS)
    assert ours[-1].startswith("**80.0** (")
    assert row(page, "OpenVLA 7B [1]")[2:] == ["84.7", "88.4", "79.2", "53.7", "76.5"]
    assert row(page, "bcz-plain")[1:5] == ["7", "0", "9", "90"]
    assert row(page, "as it is")[1:] == ["80.0"] * 4
    assert [cell.split(" ")[0] for cell in row(page, "swap")[1:]] == ["20.0"] * 4
    assert "5 start states a task" in page
    stove = row(page, "turn_on_the_stove")
    assert stove[1:3] == ["goal", "8/10 (49.0 to 94.3)"]
    experts = page[page.index("## The scripted experts") :]
    assert row(experts, "turn_on_the_stove")[2:] == [
        "4/4 (51.0 to 100.0)", "3/4 (30.1 to 95.4)", "65",
    ]  # fmt: skip


def test_without_results_the_page_has_its_title_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_pages, "FOLDER", tmp_path)
    (tmp_path / "libero").mkdir()
    assert len(libero_results.page().splitlines()) == 3
