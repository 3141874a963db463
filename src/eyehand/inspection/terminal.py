"""An inspection in the terminal: totals, costs, geometry and findings; the rest is on the page."""

from dataclasses import replace
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eyehand.inspection.findings import Finding
from eyehand.inspection.tables import Inspection, headline, layer_table, tables
from eyehand.inspection.tables import Table as Content

ROWS = 30
"""Rows of one table in the terminal; the page has all."""
NARROW = 120
"""Letters in a line below which a table does without the columns in `DROPPED`."""
DROPPED = ("FLOP/byte", "kept, MB", "output", "kind")


def show(inspection: Inspection, console: Console) -> None:
    """Print totals, tables and findings; of a long network the layers that take most time."""
    totals = Table(title=Text(inspection.name), title_justify="left", show_header=False, box=None)
    for name, value in headline(inspection.costs):
        totals.add_row(Text(name), Text(value))
    console.print(totals)
    for content in tables(replace(inspection, activations=None)):
        console.print(_table(content, _longest(inspection, content), console.width))
    console.print(Text("Findings", style="bold"))
    for finding in inspection.findings:
        console.print(_told(finding))


def _told(finding: Finding) -> Padding:
    """Write one finding: its verdict, its name and what to do, then where."""
    text = Text(f"{finding.verdict:<9}  {finding.name}: {finding.advice}")
    text.stylize("bold" if finding.places else "dim", 0, 11 + len(finding.name))
    for place in finding.places:
        text.append(f"\n{'':9}  - {place.layer or '(network)'}: {place.text}")
    return Padding(text, (0, 0, 0, 2))


def _longest(inspection: Inspection, content: Content) -> list[int]:
    """Return which rows are shown."""
    layers = inspection.costs.layers
    if content.head == layer_table(layers).head:
        order = sorted(range(len(layers)), key=lambda index: -layers[index].ms)
        return sorted(order[:ROWS])
    return list(range(min(len(content.rows), ROWS)))


def _table(content: Content, shown: list[int], width: int) -> Table:
    hidden = len(content.rows) - len(shown)
    table = Table(
        title=content.title,
        title_justify="left",
        caption=f"{hidden} more on the page" if hidden else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    kept = [i for i, head in enumerate(content.head) if width >= NARROW or head not in DROPPED]
    for column in kept:
        justify: Literal["left", "right"] = "right" if column else "left"
        table.add_column(content.head[column], justify=justify, overflow="fold")
    for index in shown:
        table.add_row(*(Text(content.rows[index][column]) for column in kept))
    return table
