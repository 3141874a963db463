"""Formulas as MathML, which browsers draw themselves: no script, no network, no LaTeX."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def draw_formula(translator: HTML5Translator, node: nodes.Element) -> None:
    """Append a formula, inline or a block of its own, to the page."""
    is_block = isinstance(node, nodes.math_block)
    latex = node.astext()
    try:
        formula = tex2mathml(latex, as_block=is_block)
    except MathError as error:
        logger.warning("formula not understood: %s in %s", error, latex, location=node)
        formula = translator.encode(latex)
    translator.body.append(f'<div class="formula">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Let conf.py say ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer("mathml", (draw_formula, None), (draw_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
