"""The prose is tested too: what it names exists."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "eyehand"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
MODULES = sorted(SOURCE.rglob("*.py"))


def test_every_path_named_exists() -> None:
    missing = []
    for document in DOCUMENTS:
        text = document.read_text()
        named = re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", text)
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # in code, ](...) is a call
        linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", prose)
        absent = [path for path in named if not (ROOT / path).exists()]
        absent += [path for path in linked if not (document.parent / path).exists()]
        missing += [f"{document.relative_to(ROOT)}: {path}" for path in absent]
    assert missing == []


def test_every_test_file_stands_where_its_subject_stands() -> None:
    stray = []
    for test in (ROOT / "tests").rglob("test_*.py"):
        place = test.relative_to(ROOT / "tests")
        if place.parent == Path() or place.parts[0] == "benchmarks":
            continue
        subject = SOURCE / place.parent / place.name.removeprefix("test_")
        package = SOURCE / place.parent / place.stem.removeprefix("test_")
        if not subject.exists() and not package.is_dir() and place.parent.name != package.name:
            stray.append(str(place))
    assert stray == []


def test_every_source_file_has_a_test_file() -> None:
    """Files without a function need none; recipes and verbs are tested by runs and by tests/cli."""
    missing = []
    for module in MODULES:
        place = module.relative_to(SOURCE)
        if place.parts[0] in ("recipes", "cli"):
            continue
        nodes = ast.walk(ast.parse(module.read_text()))
        if not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes):
            continue
        if not (ROOT / "tests" / place.with_name(f"test_{place.name}")).exists():
            missing.append(str(place))
    assert missing == [], "write a test for it"


def test_every_module_says_what_it_is_and_can_be_read_in_one_sitting() -> None:
    texts = {str(module.relative_to(SOURCE)): module.read_text() for module in MODULES}
    silent = [name for name, text in texts.items() if not ast.get_docstring(ast.parse(text))]
    assert silent == [], "a module begins with what it holds"
    assert [name for name, text in texts.items() if text.count("\n") > 450] == []


def test_names_are_the_fields_own() -> None:
    words = re.compile(r"\b(n_heads|num_heads|d_model|n_layers|dim_head|obs_dim|act_dim)\b")
    for module in MODULES:
        allowed = {"num_heads"} if module.name == "pretrained.py" else set()
        assert set(words.findall(module.read_text())) <= allowed, module


def test_readmes_show_the_two_commands_first() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)
        assert "make demo" in blocks[0]
        assert "make test" in blocks[0]


def terms() -> list[tuple[str, dict[str, Any]]]:
    """Return every term of docs/terms.toml with what is said of it."""
    chapters = tomllib.loads((ROOT / "docs" / "terms.toml").read_text())["terms"].values()
    return [pair for chapter in chapters for pair in chapter.items()]


def headings(page: Path) -> set[str]:
    """Return the places of a page that `#` can name: its headings in small letters and dashes."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w-]", "", line.lower().replace(" ", "-")) for line in lines}


def test_a_term_stands_once() -> None:
    counts = Counter(name.casefold() for name, _ in terms())
    assert len(counts) > 450
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("status", ["done", "planned"])
def test_a_term_says_what_its_status_asks_for(status: str) -> None:
    wanted = {
        "done": [
            {"status", "chinese", "page", "meaning", "code"},
            {"status", "chinese", "page", "meaning", "library"},
        ],
        "planned": [{"status", "chinese"}],
    }
    for name, term in terms():
        assert term["status"] in wanted, name
        assert re.search(r"[\u4e00-\u9fff]", term["chinese"]), name
        if term["status"] == status:
            assert set(term) in wanted[status], name


def test_pages_and_code_of_the_terms_exist() -> None:
    for name, term in terms():
        if term["status"] == "done":
            page, _, place = term["page"].partition("#")
            assert (ROOT / "docs" / page).is_file(), name
            assert not place or place in headings(ROOT / "docs" / page), name
            if "code" in term:
                assert (SOURCE / term["code"]).is_file(), name
            else:
                assert callable(resolve_name(term["library"])), name
            assert re.fullmatch(r"[A-Z1-9].*[^.]\.", term["meaning"]), name
