"""Runs every ``python`` and ``{plot}`` block of the handbook as a test, in the root folder.

The blocks of a page share their names. A block first runs those above it that have not run yet,
so that the blocks of a page may be tested alone or by several processes.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract import AbstractCodeBlockParser
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.myst.lexers import DirectiveLexer

ROOT = Path(__file__).parents[1]
collect_ignore = ["simulators"]  # templates, which import simulators that are not installed


def run(example: Example) -> None:
    """Run a block after its predecessors and close its figures."""
    done: set[int] = example.namespace.setdefault("__done__", set())
    with contextlib.chdir(ROOT), warnings.catch_warnings():
        # What torch lacks when matplotlib draws a tensor; Python itself does not show it.
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        for block in example.document.examples():
            if block.start <= example.start and block.start not in done:
                done.add(block.start)
                PythonEvaluator()(block)
                plt.close("all")


def setup(namespace: dict[str, Any]) -> None:
    """Draw without a screen."""
    mpl.use("Agg")


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("python", run),
        AbstractCodeBlockParser(
            [DirectiveLexer("plot")], "plot", run, language_lexeme_name="directive"
        ),
    ],
    patterns=["*.md"],
    setup=setup,
).pytest()
