"""The prose is tested too: what it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "eyehand"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_named_exists(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", text)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # in code, ](...) is a call
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", prose)
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [path for path in linked if not (document.parent / path).exists()]
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


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is_and_can_be_read_in_one_sitting(module: Path) -> None:
    text = module.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module begins with what it holds"
    assert text.count("\n") <= 450


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_names_are_the_fields_own(module: Path) -> None:
    found = re.findall(
        r"\b(n_heads|num_heads|d_model|n_layers|dim_head|obs_dim|act_dim)\b", module.read_text()
    )
    allowed = {"num_heads"} if module.name == "pretrained.py" else set()
    assert set(found) <= allowed


def test_readmes_show_the_two_commands_first() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)
        assert "make demo" in blocks[0]
        assert "make test" in blocks[0]
