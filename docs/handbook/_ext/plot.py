"""The fence ``{plot}``: Python that runs when the site is built, with what it prints and draws.

matplotlib's own plot directive needs a reStructuredText parser; this one works in MyST pages.
The blocks of a page share their names and run in the repository's root folder.
"""

import contextlib
import io
import os
import traceback
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
from docutils import nodes
from matplotlib import pyplot as plt
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
INCHES = 8  # a figure so wide fills the page
STYLE = {"savefig.dpi": 180, "savefig.bbox": "tight", "font.size": 9}


def run_block(source: str, *, page: Path, line: int, names: dict[str, Any]) -> str:
    """Run the code of a page in ``names`` and return what it printed; ``line`` is its first."""
    printed = io.StringIO()
    code = compile("\n" * (line - 1) + source, str(page), "exec")
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


class Plot(SphinxDirective):
    """Show a block of code, what it prints, and its figures; the argument is their caption."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Run the block; an exception in it is a warning of the build."""
        source = "\n".join(self.content)
        shown = nodes.literal_block(source, source, language="python")
        if not self.config.plot_run:
            return [shown]
        page = Path(self.env.doc2path(self.env.docname))
        names = self.env.temp_data.setdefault("names of the blocks", {"__name__": "__page__"})
        try:
            with mpl.rc_context(STYLE):
                printed = run_block(source, page=page, line=self.lineno + 1, names=names)
                pictures = self.save_figures(page)
        except Exception:
            message = "block failed:\n%s"
            logger.warning(message, traceback.format_exc(), location=self.get_location())
            return [shown]
        finally:
            plt.close("all")
        result: list[nodes.Node] = [shown]
        if printed:
            result.append(
                nodes.literal_block(printed, printed, language="text", classes=["printed"])
            )
        return [*result, *pictures]

    def save_figures(self, page: Path) -> list[nodes.Node]:
        """Write every open figure beside Sphinx's cache; the last one carries the caption."""
        folder = Path(self.env.doctreedir) / "plots"
        folder.mkdir(parents=True, exist_ok=True)
        name = self.env.docname.replace("/", "-")
        text = self.arguments[0] if self.arguments else ""
        figures: list[nodes.Node] = []
        for number in plt.get_fignums():
            file = folder / f"{name}-{self.lineno}-{number}.png"
            figure = plt.figure(number)
            figure.savefig(file)
            uri = os.path.relpath(file, page.parent)
            width = f"{min(100, figure.get_figwidth() / INCHES * 100):.0f}%"
            figures.append(nodes.figure("", nodes.image(uri=uri, alt=text, width=width)))
        if figures and text:
            inline, _ = self.state.inline_text(text, self.lineno)
            figures[-1].append(nodes.caption("", "", *inline))
        return figures


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the fence; ``plot_run = False`` shows the blocks without running them."""
    mpl.use("Agg")
    app.add_config_value("plot_run", default=True, rebuild="env", types=(bool,))
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
