"""An inspection in the terminal: totals, costs, geometry and findings; the rest is on the page."""

from dataclasses import replace
from itertools import groupby
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eyehand.inspection.inspection import Inspection, Sheet, headline, layer_sheet, sheets

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
    for sheet in sheets(replace(inspection, activations=None)):
        console.print(_table(sheet, _longest(inspection, sheet), console.width))
    for rule, findings in groupby(inspection.findings, key=lambda finding: finding.rule):
        console.print(Text(f"not so: {rule}", style="bold"))
        for finding in findings:
            console.print(Text(f"  {finding.layer or '(network)'}: {finding.message}"))


def _longest(inspection: Inspection, sheet: Sheet) -> list[int]:
    """Return which rows are shown."""
    layers = inspection.costs.layers
    if sheet.head == layer_sheet(layers).head:
        order = sorted(range(len(layers)), key=lambda index: -layers[index].ms)
        return sorted(order[:ROWS])
    return list(range(min(len(sheet.rows), ROWS)))


def _table(sheet: Sheet, shown: list[int], width: int) -> Table:
    hidden = len(sheet.rows) - len(shown)
    caption = f"{hidden} more on the page" if hidden else None
    table = Table(
        title=sheet.title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    rows = [sheet.rows[index] for index in shown]
    for column in (columns := _fitting(sheet, rows, width)):
        justify: Literal["left", "right"] = "right" if column else "left"
        least = min(_width(sheet, rows, column), width // 4) if column == 0 else None
        table.add_column(sheet.head[column], justify=justify, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(row[column]) for column in columns))
    return table


def _fitting(sheet: Sheet, rows: list[tuple[str, ...]], width: int) -> list[int]:
    """Return the columns that have room, names folded to a quarter of the width."""
    columns = list(range(len(sheet.head)))
    wanted = [min(_width(sheet, rows, 0), width // 4)]
    wanted += [_width(sheet, rows, column) for column in columns[1:]]
    for heading in DROPPED:
        if heading in sheet.head and sum(wanted[column] + 2 for column in columns) > width:
            columns.remove(sheet.head.index(heading))
    return columns


def _width(sheet: Sheet, rows: list[tuple[str, ...]], column: int) -> int:
    """Return the letters of the widest cell, or of the longest word of the heading."""
    return max(len(cell) for cell in [*sheet.head[column].split(), *(row[column] for row in rows)])
