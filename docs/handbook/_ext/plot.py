"""The fences ``{plot}`` and ``{plot-of}``: Python that runs when the site is built.

``{plot}`` shows a block of code, what it prints and its figures. ``{plot-of}`` shows a block of
another page again: a Chinese page, ``NAME.zh.md``, shows the blocks of ``NAME.md`` by their names,
so that the code stands once. Sphinx reads pages in the order of their names, so ``NAME`` has run
before ``NAME.zh`` asks for its results.

matplotlib's own plot directive needs a reStructuredText parser; these work in MyST pages.
The blocks of a page share their names and run in the repository's root folder.
"""

import contextlib
import io
import os
import traceback
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import matplotlib as mpl
from docutils import nodes
from docutils.parsers.rst import directives
from matplotlib import pyplot as plt
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
INCHES = 8  # a figure so wide fills the page
STYLE = {"savefig.dpi": 180, "savefig.bbox": "tight", "font.size": 9}


class Block(NamedTuple):
    """A block of code and what running it gave."""

    source: str
    printed: str = ""
    pictures: tuple[tuple[Path, str], ...] = ()
    """File and width, as CSS writes it, of each figure."""


def run_block(source: str, *, page: Path, line: int, names: dict[str, Any]) -> str:
    """Run the code of a page in ``names`` and return what it printed; ``line`` is its first."""
    printed = io.StringIO()
    code = compile("\n" * (line - 1) + source, str(page), "exec")
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


class Shown(SphinxDirective):
    """What both fences do with a block."""

    def page(self) -> Path:
        """Return the file that the fence stands in."""
        return Path(self.env.doc2path(self.env.docname))

    def show(self, block: Block, caption: str) -> list[nodes.Node]:
        """Return the nodes of a block; its last figure carries the caption."""
        shown: list[nodes.Node] = [
            nodes.literal_block(block.source, block.source, language="python")
        ]
        if block.printed:
            text = block.printed
            shown.append(nodes.literal_block(text, text, language="text", classes=["printed"]))
        for file, width in block.pictures:
            uri = os.path.relpath(file, self.page().parent)
            shown.append(nodes.figure("", nodes.image(uri=uri, alt=caption, width=width)))
        if block.pictures and caption:
            inline, _ = self.state.inline_text(caption, self.lineno)
            shown[-1] += nodes.caption("", "", *inline)
        return shown


class Plot(Shown):
    """Show a block of code, what it prints, and its figures; the argument is their caption."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"name": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Run the block and keep it under its name; an exception in it is a warning."""
        block = self.result("\n".join(self.content))
        if "name" in self.options:
            blocks = self.env.metadata[self.env.docname].setdefault("blocks", {})
            blocks[self.options["name"]] = block
        return self.show(block, self.arguments[0] if self.arguments else "")

    def result(self, source: str) -> Block:
        """Run the block, unless the build is one without results."""
        if not self.config.plot_run:
            return Block(source)
        names = self.env.temp_data.setdefault("names of the blocks", {"__name__": "__page__"})
        line = self.lineno + 1 + len(self.options)
        try:
            with mpl.rc_context(STYLE):
                printed = run_block(source, page=self.page(), line=line, names=names)
                return Block(source, printed, self.save_figures())
        except Exception:
            message = "block failed:\n%s"
            logger.warning(message, traceback.format_exc(), location=self.get_location())
            return Block(source)
        finally:
            plt.close("all")

    def save_figures(self) -> tuple[tuple[Path, str], ...]:
        """Write every open figure beside Sphinx's cache."""
        folder = Path(self.env.doctreedir) / "plots"
        folder.mkdir(parents=True, exist_ok=True)
        name = self.env.docname.replace("/", "-")
        pictures = []
        for number in plt.get_fignums():
            file = folder / f"{name}-{self.lineno}-{number}.png"
            figure = plt.figure(number)
            figure.savefig(file)
            width = f"{min(100, figure.get_figwidth() / INCHES * 100):.0f}%"
            pictures.append((file, width))
        return tuple(pictures)


class PlotOf(Shown):
    """Show a named block of the English page; the content is the caption in this language."""

    has_content = True
    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Look the block up; a name that the English page lacks is a warning."""
        name, page = self.arguments[0], self.env.docname.removesuffix(".zh")
        self.env.note_dependency(self.env.doc2path(page))
        block = self.env.metadata[page].get("blocks", {}).get(name)
        if block is None:
            message = "page %s has no plot with `:name: %s`"
            logger.warning(message, page, name, location=self.get_location())
            return []
        return self.show(block, "".join(self.content))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the fences; ``plot_run = False`` shows the blocks without running them."""
    mpl.use("Agg")
    app.add_config_value("plot_run", default=True, rebuild="env", types=(bool,))
    app.add_directive("plot", Plot)
    app.add_directive("plot-of", PlotOf)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
