"""The page: whole, self-contained, escaped, and saying what was measured."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eyehand.checksums import write_json
from eyehand.evaluation import report
from eyehand.evaluation.chain import ChainResults
from eyehand.evaluation.report import curve, training_curves, write_report
from eyehand.evaluation.results import Film, Results, write_results
from eyehand.types import InputError

VOID = {"meta", "line", "rect", "polyline"}


class Page(HTMLParser):
    """Fails on a tag that is closed wrongly; keeps the text, the tags and the addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def words(file: Path) -> str:
    """Return the text of a page, on one line."""
    return " ".join(Page(file.read_text(encoding="utf-8")).text.split())


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "reach.mp4").write_bytes(b"a film")
    write_results(results, tmp_path / "results.json")
    return tmp_path


def metrics(folder: Path, lines: list[str]) -> Path:
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def test_page_is_whole_and_needs_nothing_else(folder: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1 / (1 + step)}) for step in range(100)]
    out = write_report(folder, training=metrics(folder, lines))
    assert out == folder / "report.html"
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert page.addresses == ["data:video/mp4;base64,YSBmaWxt"]
    assert not re.search(r"https?:|@import|url\(", html)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags.count("video") == 1
    assert page.tags.count("polyline") == 1
    assert not list(folder.glob("*.partial"))


def test_page_says_every_figure_and_escapes_names(folder: Path) -> None:
    write_report(folder, training=folder / "elsewhere")
    html = (folder / "report.html").read_text(encoding="utf-8")
    text = words(folder / "report.html")
    for said in [
        "<policy>",
        "<deaf?>",
        "eyehand eval 'a & b'",
        "75.0 %",
        "30.1 to 95.4",
        "3/4",
        "easy, 1 of 28 tasks",
        "not covered",
        "mean over the 2 tasks evaluated",
        "1,000,000 to 1,000,003",
        "only a simulator knows: none",
        "commit",
        "abc",
    ]:
        assert said in text, said
    assert "<policy>" not in html
    assert "Training" not in text


def test_sentence_says_how_plans_are_executed(folder: Path, results: Results) -> None:
    assert "executed 4 of them before it decided again. All intervals" in words(
        write_report(folder)
    )
    averaged = replace(results, execution={"steps": 4, "temporal_ensembling": 0.01})
    write_results(averaged, folder / "results.json")
    assert "same step (temporal ensembling, decay 0.01)" in words(write_report(folder))


def test_chains_have_a_section_if_they_were_told_to_this_policy(
    folder: Path, chains: ChainResults
) -> None:
    assert "in a row" not in words(write_report(folder))
    write_json(folder / "chains.json", asdict(chains))
    text = words(write_report(folder))
    for said in ["3 chains of 2 tasks", "within 500 steps", "1.00 tasks in a row", "2 in a row"]:
        assert said in text, said
    assert "3 in a row" not in text
    write_json(folder / "chains.json", asdict(replace(chains, checkpoint_sha256="1" * 64)))
    assert "in a row" not in words(write_report(folder))


def test_films_that_do_not_fit_are_counted(
    folder: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "films" / "large.mp4").write_bytes(b"x" * 50)
    films = [*results.films, Film("push", 1, False, "films/large.mp4")]
    write_results(replace(results, films=films), folder / "results.json")
    write_report(folder)
    page = Page((folder / "report.html").read_text())
    assert page.tags.count("video") == 2
    monkeypatch.setattr(report, "FILM_BYTES", 55)
    write_report(folder)
    page = Page((folder / "report.html").read_text())
    assert page.tags.count("video") == 1
    assert "1 more film is in the folder films" in words(folder / "report.html")


def test_curve_goes_from_corner_to_corner() -> None:
    drawn = curve("x", [(0.0, 1.0), (5.0, 2.0), (10.0, 3.0)])
    assert drawn.points == "0.0,100.0 150.0,50.0 300.0,0.0"
    assert (drawn.lowest, drawn.highest, drawn.last, drawn.logarithmic) == (1.0, 3.0, 3.0, False)
    falling = curve("loss", [(0.0, 100.0), (5.0, 10.0), (10.0, 1.0)])
    assert falling.logarithmic
    assert falling.points == "0.0,0.0 150.0,50.0 300.0,100.0"
    assert curve("constant", [(0.0, 2.0), (1.0, 2.0)]).points == "0.0,100.0 300.0,100.0"
    many = curve("x", [(float(step), float(step % 2)) for step in range(10_000)])
    assert len(many.points.split()) <= 400


def test_curves_skip_what_is_no_number_and_a_last_line_cut_short(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "loss": 2.0, "note": "hi", "bad": NaN}',
        '{"step": 2, "loss": 1.0, "bad": NaN}',
        '{"step": 3, "lo',
    ]
    assert [drawn.name for drawn in training_curves(metrics(tmp_path, lines))] == ["loss"]


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    lines = ['{"step": 1, "loss": 2.0}', '{"loss": 1.0}', '{"step": 3, "loss": 1.0}']
    with pytest.raises(InputError, match=r"line 2 of .*metrics\.jsonl is damaged"):
        training_curves(metrics(tmp_path, lines))


def test_unfinished_evaluation_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "episodes.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="not finished"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
