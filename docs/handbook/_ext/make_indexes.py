"""Makes glossary.md, index.md and index.zh.md of docs/terms.toml and of the pages themselves.

    python docs/handbook/_ext/make_indexes.py

The three files are committed, so that they can also be read without building the site.
"""

# ruff: noqa: RUF001 (the punctuation of Chinese text is wide on purpose)

import os
import textwrap
import tomllib
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2]
HANDBOOK = DOCS / "handbook"
MADE = "<!-- Made by docs/handbook/_ext/make_indexes.py from docs/terms.toml: change that. -->"


def load() -> dict[str, Any]:
    """Read docs/terms.toml; its first lines say what it holds."""
    return tomllib.loads((DOCS / "terms.toml").read_text())


def title(page: Path) -> str:
    """Return the first heading of a page."""
    return page.read_text().splitlines()[0].removeprefix("# ")


def sibling(page: Path) -> Path:
    """Return the Chinese page beside an English one."""
    return page.with_suffix(".zh.md")


def link(name: str, page: Path) -> str:
    """Return a link from a page in the handbook's own folder."""
    return f"[{name}]({os.path.relpath(page, HANDBOOK)})"


def toctree(pages: list[Path], *, caption: str = "") -> str:
    """Return the lines by which Sphinx puts pages into the menu of the site."""
    names = [str(page.relative_to(HANDBOOK)).removesuffix(".md") for page in pages]
    options = [*([f":caption: {caption}"] if caption else []), ":titlesonly:", ":hidden:"]
    return "\n".join(["```{toctree}", *options, "", *names, "```"])


def index(content: dict[str, Any]) -> str:
    """Return index.md: the pages of every chapter with their English sentences."""
    parts, menus = [], []
    for chapter, sentences in content["pages"].items():
        heading = content["chapters"][chapter][0]
        pages = [HANDBOOK / f"{name}.md" for name in sentences]
        lines = []
        for page, (sentence, _) in zip(pages, sentences.values(), strict=True):
            chinese = link(title(sibling(page)), sibling(page))
            lines.append(f"- {link(title(page), page)} ({chinese}): {sentence}")
        parts.append(f"## {heading}\n\n" + "\n".join(lines))
        menus.append(toctree(pages, caption=heading))
    words = [HANDBOOK / "glossary.md", HANDBOOK / "index.zh.md"]
    return "\n\n".join(
        [
            MADE,
            "# The handbook",
            "How a network sees and how a robot learns by doing, page by page: an idea, a formula, "
            "code that runs, the picture\nit makes, and what people get wrong. Every block on "
            "these pages ran when the site was built, and runs again in\nthe tests.\n"
            "In Chinese: [中文目录](index.zh.md). All terms, in both languages: "
            "[glossary](glossary.md).",
            *parts,
            *menus,
            toctree(words, caption="Words"),
        ]
    )


def chinese_index(content: dict[str, Any]) -> str:
    """Return index.zh.md: the pages of every chapter with their Chinese sentences."""
    parts, menu = [], []
    for chapter, sentences in content["pages"].items():
        lines = []
        for name, (_, sentence) in sentences.items():
            page = HANDBOOK / f"{name}.md"
            chinese = link(title(sibling(page)), sibling(page))
            lines.append(f"- {chinese}（{link(title(page), page)}）：{sentence}")
            menu.append(sibling(page))
        parts.append(f"## {content['chapters'][chapter][1]}\n\n" + "\n".join(lines))
    return "\n\n".join(
        [
            MADE,
            "# 中文目录",
            "每页一屏：三句话讲清思想，一个公式，一段可运行的代码，代码画出的图，以及常见的误解。",
            *parts,
            "## 术语\n\n- [术语表](glossary.md)（Glossary）：每个英文术语旁都有中文名。",
            toctree(menu),
        ]
    )


def entry(name: str, term: dict[str, str]) -> str:
    """Return a term that is done as an entry of the glossary."""
    file, _, place = term["page"].partition("#")
    page = DOCS / file
    if page.is_relative_to(HANDBOOK):
        where = link(title(page), page).removesuffix(")") + (f"#{place})" if place else ")")
    else:
        where = f"`docs/{file}`"  # not part of the site
    source = f"src/eyehand/{term['code']}" if "code" in term else term["library"]
    meaning = textwrap.wrap(f"{term['meaning']} {where}, `{source}`", 106, break_on_hyphens=False)
    return "\n".join([name, term["chinese"], *(f"  {line}" for line in meaning)])


def glossary(content: dict[str, Any]) -> str:
    """Return glossary.md: what is done with its meaning, then what is planned."""
    parts, planned = [], []
    for chapter, terms in content["terms"].items():
        heading, chinese = content["chapters"][chapter]
        done = [entry(name, term) for name, term in terms.items() if term["status"] == "done"]
        if done:
            parts.append(f"## {heading}\n\n*{chinese}*\n\n```{{glossary}}\n")
            parts[-1] += "\n\n".join(done) + "\n```"
        waiting = [f"{n} {t['chinese']}" for n, t in terms.items() if t["status"] == "planned"]
        if waiting:
            planned.append(f"**{heading}** {chinese}: {'; '.join(waiting)}.")
    return "\n\n".join(
        [
            MADE,
            "# Glossary",
            "*术语表*",
            "Each term with its Chinese name, one sentence, the page that explains it and the code "
            "that has it: a file of\nours, or the name in the library that we use. At the end: "
            "terms that have no page yet.",
            *parts,
            "## Terms that later pages will explain\n\n*尚待写成的术语*",
            *planned,
        ]
    )


def made() -> dict[Path, str]:
    """Return what the three files should hold."""
    content = load()
    texts = {"index.md": index, "index.zh.md": chinese_index, "glossary.md": glossary}
    return {HANDBOOK / name: make(content) + "\n" for name, make in texts.items()}


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text)
