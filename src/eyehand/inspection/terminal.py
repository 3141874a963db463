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
DROPPED = ("FLOP/byte", "kept, MB", "output", "kind")
"""Columns that a narrow terminal does without, the first one first; the page has all."""


def show(inspection: Inspection, console: Console) -> None:
    """Print totals, tables and findings; of a long network the layers that take most time.

    Args:
        inspection: What was found.
        console: Where to.
    """
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
    caption = f"{hidden} more on the page" if hidden else None
    table = Table(
        title=content.title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    rows = [content.rows[index] for index in shown]
    for column in (columns := _fitting(content, rows, width)):
        justify: Literal["left", "right"] = "right" if column else "left"
        least = min(_width(content, rows, column), width // 4) if column == 0 else None
        table.add_column(content.head[column], justify=justify, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(row[column]) for column in columns))
    return table


def _fitting(content: Content, rows: list[tuple[str, ...]], width: int) -> list[int]:
    """Return the columns that have room, names folded to a quarter of the width."""
    columns = list(range(len(content.head)))
    wanted = [min(_width(content, rows, 0), width // 4)]
    wanted += [_width(content, rows, column) for column in columns[1:]]
    for heading in DROPPED:
        if heading in content.head and sum(wanted[column] + 2 for column in columns) > width:
            columns.remove(content.head.index(heading))
    return columns


def _width(content: Content, rows: list[tuple[str, ...]], column: int) -> int:
    """Return the letters of the widest cell, or of the longest word of the heading."""
    return max(
        len(cell) for cell in [*content.head[column].split(), *(row[column] for row in rows)]
    )
