"""The site of the handbook: it builds without a warning, and a reader finds every page."""

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "docs" / "handbook"
PAGES = [page for page in sorted(HANDBOOK.glob("*/*.md")) if not page.name.endswith(".zh.md")]
PAIRS = [*PAGES, *(HANDBOOK / f"{name}.md" for name in ("networks", "segmentation", "layers"))]
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
    pages = {
        site / path.relative_to(HANDBOOK).with_suffix(".html") for path in HANDBOOK.rglob("*.md")
    }
    assert len(pages) > 60
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


def test_both_languages_of_a_page_show_the_same_code(site: Path) -> None:
    """Both languages of a page show it; it stands on the English page alone."""
    for page in PAIRS:
        shown = [
            re.findall(r'<div class="highlight-python.*?</pre>', file.read_text(), flags=re.DOTALL)
            for path in (page, page.with_suffix(".zh.md"))
            for file in [(site / path.relative_to(HANDBOOK)).with_suffix(".html")]
        ]
        plots = re.findall(r"^```\{plot\}", page.read_text(), flags=re.MULTILINE)
        assert len(shown[0]) == len(plots), page
        assert shown[0] == shown[1], page


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HANDBOOK)))
def test_a_page_has_its_parts(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert re.fullmatch(rf"\*.*{CHINESE}.*\*", lines[2]), "its Chinese name stands under the title"
    wanted = {"## Example", "## What people get wrong", "## In the code", "## Source"}
    assert wanted - set(lines) == set()
    assert any(line.startswith("```{plot}") for line in lines)


def test_indexes_and_glossary_are_made_from_the_terms_and_pages() -> None:
    spec = importlib.util.spec_from_file_location("indexes", HANDBOOK / "_ext" / "make_indexes.py")
    assert spec is not None
    assert spec.loader is not None
    indexes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(indexes)
    for page, text in indexes.made().items():
        assert page.read_text() == text, "run `python docs/handbook/_ext/make_indexes.py`"
    listed = [name for chapter in indexes.load()["pages"].values() for name in chapter]
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(page.relative_to(HANDBOOK).with_suffix("")) for page in PAIRS}


def parts(page: Path) -> dict[str, object]:
    """Return what a page and its Chinese sibling must have in common."""
    text = page.read_text()
    code = re.findall(r"^```\{plot\}.*?^```$", text, flags=re.MULTILINE | re.DOTALL)
    plots = [name for block in code for name in re.findall(r"^:name: (.*)$", block, re.MULTILINE)]
    plots += re.findall(r"^```\{plot-of\} (.*)$", text, flags=re.MULTILINE)
    prose = re.sub(r"<!-- table:.*?<!-- end of table -->", "", text, flags=re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", prose, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"\$\$(.*?)\$\$", prose, flags=re.DOTALL)
    inline = re.sub(r"\$\$.*?\$\$", "", prose, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)]*)\)", inline)
    terms = re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]*)", " ".join(inline.split()))
    inline = re.sub(r"\{term\}`[^`]*`", "", inline)
    return {
        "headings": re.findall(r"^#+ ", prose, flags=re.MULTILINE),
        "formulas": ["".join(re.sub(r"\\text\{[^}]*\}", "", b).split()) for b in blocks],
        "plots": plots,
        "tables": re.findall(r"<!-- table: (.*) -->", text),  # a Chinese page includes them
        "items": len(re.findall(r"^- ", prose, flags=re.MULTILINE)),
        # Their order within a sentence depends on the language.
        "inline formulas": Counter(re.findall(r"\$([^$]+)\$", inline)),
        "code": Counter(re.findall(r"`([^`]+)`", inline)),
        "terms": Counter(terms),
        "sources": re.findall(r"https?://[^\s>]+", inline),
        "links": Counter(re.sub(r"\.zh\.md$", ".md", link) for link in links[1:]),
    }


@pytest.mark.parametrize("page", PAIRS, ids=lambda path: str(path.relative_to(HANDBOOK)))
def test_a_chinese_page_follows_its_english_one(page: Path) -> None:
    chinese = page.with_suffix(".zh.md")
    english, translated = parts(page), parts(chinese)
    for part, wanted in english.items():
        assert translated[part] == wanted, part
    headings = re.findall(r"^#+ (.*)$", chinese.read_text(), flags=re.MULTILINE)
    assert [heading for heading in headings if not re.search(CHINESE, heading)] == []
    for link in re.findall(r"\]\(([^):]*)\)", chinese.read_text())[1:]:
        assert link.endswith(".zh.md") or not (page.parent / link).with_suffix(".zh.md").exists()
    for this, other in ((page, chinese), (chinese, page)):
        title = other.read_text().splitlines()[0].removeprefix("# ")
        assert this.read_text().splitlines()[2] == f"*[{title}]({other.name})*"


def test_what_is_wrong_on_a_page_stops_the_build(tmp_path: Path) -> None:
    wrong = {
        "$$\\nosuchcommand{x}$$": "formula not understood",
        "```{plot}\nassert 1 == 2\n```": 'index.md", line 6, in <module>\n    assert 1 == 2',
        "{term}`no such term`": "no such term",
        "```{plot-of} nothing\n```": "page index has no plot with `:name: nothing`",
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
    site = build(tmp_path / "site")
    assert len(list((site / "_images").glob("*.png"))) > 40
    for page in PAIRS:
        shown = [
            re.findall(r'<img [^>]*src="([^"]*_images/[^"]*)"', (site / file).read_text())
            for path in (page, page.with_suffix(".zh.md"))
            for file in [path.relative_to(HANDBOOK).with_suffix(".html")]
        ]
        assert shown[0] == shown[1], "pictures stand once too"
        assert bool(shown[0]) == ("```{plot}" in page.read_text()), page
