"""The site of the handbook: it builds without a warning, and a reader finds every page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "docs" / "handbook"
PAGES = sorted(HANDBOOK.glob("*/*.md"))
CHINESE = r"[\u4e00-\u9fff]"


def build(site: Path, *options: str) -> Path:
    """Build the site as `make docs` does; a warning fails."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, str(HANDBOOK), str(site)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without the results of its blocks, which docs/conftest.py runs."""
    return build(tmp_path_factory.mktemp("site"), "-D", "plot_run=0")


def test_every_page_is_reached_from_the_index(site: Path) -> None:
    reached, waiting = set(), [site / "index.html"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r'href="([^":#]+\.html)', page.read_text()):
            waiting.append((page.parent / link).resolve())
    pages = {site / path.relative_to(HANDBOOK).with_suffix(".html") for path in PAGES}
    assert len(pages) > 40
    assert pages - reached == set()


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert re.findall(r'(?:src|<link[^>]* href)="(?:https?:)?//[^"]*', page.read_text()) == []


def test_every_block_is_one(site: Path) -> None:
    """A caption with a backtick makes a fence plain text: nothing of it would run."""
    for page in site.rglob("*.html"):
        assert "{plot}" not in page.read_text(), page


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    page = (site / "convolution" / "size_and_parameters.html").read_text()
    assert "<mfrac>" in page
    assert "\\frac" not in page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HANDBOOK)))
def test_a_page_has_its_parts(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert re.fullmatch(rf"\*.*{CHINESE}.*\*", lines[2]), "its Chinese name stands under the title"
    wanted = {"## Example", "## What people get wrong", "## In the code", "## Source"}
    assert wanted - set(lines) == set()
    assert any(line.startswith("```{plot}") for line in lines)


def test_the_chinese_index_has_a_sentence_for_every_page() -> None:
    text = (HANDBOOK / "index.zh.md").read_text()
    listed = dict(re.findall(r"^- \[.*\]\((.*?)\)\uff1a(.*)$", text, flags=re.MULTILINE))
    pages = {str(page.relative_to(HANDBOOK)) for page in HANDBOOK.rglob("*.md")}
    assert listed.keys() == pages - {"index.md", "index.zh.md"}
    assert all(re.search(CHINESE, sentence) for sentence in listed.values())


def test_every_term_has_a_chinese_name_and_a_meaning() -> None:
    text = (HANDBOOK / "glossary.md").read_text()
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", text, flags=re.DOTALL)
    entries = [entry.splitlines() for block in blocks for entry in block.strip().split("\n\n")]
    assert len(entries) > 30
    for english, chinese, *meaning in entries:
        assert not re.search(CHINESE, english)
        assert re.search(CHINESE, chinese), english
        assert meaning, english
        assert all(line.startswith("  ") for line in meaning), english


def test_what_is_wrong_on_a_page_stops_the_build(tmp_path: Path) -> None:
    wrong = {
        "$$\\nosuchcommand{x}$$": "formula not understood",
        "```{plot}\nassert 1 == 2\n```": 'index.md", line 6, in <module>\n    assert 1 == 2',
        "{term}`no such term`": "no such term",
    }
    (tmp_path / "index.md").write_text("# Page\n\n" + "\n\n".join(wrong))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", str(HANDBOOK)]
    done = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "site")], capture_output=True, text=True
    )
    assert done.returncode != 0
    for message in wrong.values():
        assert message in done.stderr


@pytest.mark.slow
def test_the_site_builds_with_its_pictures(tmp_path: Path) -> None:
    pictures = build(tmp_path / "site") / "_images"
    assert len(list(pictures.glob("*.png"))) > 40
