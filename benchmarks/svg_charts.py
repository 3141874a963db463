"""Charts as SVG, light and dark: lines over an axis, and grid worlds with values and arrows."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

STYLE = """
text{font:12px system-ui,sans-serif;fill:#1d1f23}.small{font-size:10px}.end{text-anchor:end}
.middle{text-anchor:middle}.axis{stroke:#8a8f98;fill:none}.grid{stroke:#8a8f98;opacity:.25}
polyline{fill:none;stroke-width:1.8}.dashed{stroke-dasharray:5 3}
.cell{fill:#efece4;stroke:#fff}.forbidden{fill:#dea04c}
.target{fill:#5cb87f}.arrow{stroke:#1d1f23;stroke-width:1.6;fill:none}.dot{fill:#1d1f23}
.on{fill:#1d1f23}.c0{stroke:#3f75b5}.c1{stroke:#d0342c}.c2{stroke:#1c8a48}.c3{stroke:#a05fb5}
.c4{stroke:#c98a1b}.c5{stroke:#2aa5a0}.c6{stroke:#7a7f88}.c7{stroke:#b5507a}
@media(prefers-color-scheme:dark){text{fill:#eceae4}.cell{fill:#2b3038;stroke:#16191d}
.forbidden{fill:#8f6426}.target{fill:#2f7a4c}.arrow{stroke:#eceae4}.dot,.on{fill:#eceae4}
.c0{stroke:#6c9fdc}.c1{stroke:#ff7a70}.c2{stroke:#57c284}.c3{stroke:#cf93e2}.c4{stroke:#e6b452}}
"""
COLOURS = 8
MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM = 62, 26, 42
LEGEND = 190
CELL = 40
Line = tuple[Sequence[float], Sequence[float]]
"""Places along the axis, and heights."""


def svg(width: float, height: float, parts: Sequence[str]) -> str:
    """Return a whole picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def line_chart(
    lines: Mapping[str, Line],
    *,
    title: str,
    labels: tuple[str, str],
    log: tuple[bool, bool] = (False, False),
    heights: tuple[float, float] | None = None,
    size: tuple[int, int] = (760, 320),
) -> str:
    """Draw lines with a legend.

    Args:
        lines: By name.
        title: Stands above.
        labels: Of the two axes.
        log: Whether each axis is logarithmic.
        heights: Lowest and highest value shown; None shows all.
        size: Width and height, pixels.
    """
    width, height = size
    places = [x for xs, _ in lines.values() for x in xs]
    seen = [y for _, ys in lines.values() for y in ys if y > 0 or not log[1]]
    low, high = heights or (min(seen), max(seen))
    across = _Axis(min(places), max(places), MARGIN_LEFT, width - LEGEND, log=log[0])
    up = _Axis(low, high, height - MARGIN_BOTTOM, MARGIN_TOP, log=log[1])
    parts = [f'<text x="{MARGIN_LEFT}" y="15">{escape(title)}</text>']
    for value, label in up.ticks():
        y = up.place(value)
        parts.append(
            f'<path class="grid" d="M{MARGIN_LEFT},{y:.1f}H{width - LEGEND}"/>'
            f'<text class="small end" x="{MARGIN_LEFT - 5}" y="{y + 3.5:.1f}">{label}</text>'
        )
    for value, label in across.ticks():
        x = across.place(value)
        parts.append(
            f'<path class="grid" d="M{x:.1f},{MARGIN_TOP}V{height - MARGIN_BOTTOM}"/>'
            f'<text class="small middle" x="{x:.1f}" y="{height - 26}">{label}</text>'
        )
    middle = (MARGIN_LEFT + width - LEGEND) / 2
    parts += [
        f'<path class="axis" d="M{MARGIN_LEFT},{MARGIN_TOP}V{height - MARGIN_BOTTOM}'
        f'H{width - LEGEND}"/>',
        f'<text class="small middle" x="{middle:.0f}" y="{height - 8}">{escape(labels[0])}</text>',
        f'<text class="small middle" transform="translate(13,{(height - 16) / 2:.0f})'
        f'rotate(-90)">{escape(labels[1])}</text>',
    ]
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        points = " ".join(
            f"{across.place(x):.1f},{up.place(min(max(y, low), high)):.1f}"
            for x, y in zip(xs, ys, strict=True)
        )
        y = MARGIN_TOP + 12 + 18 * number
        kind = f"c{number % COLOURS}" + (" dashed" if number >= COLOURS else "")
        parts.append(
            f'<polyline class="{kind}" points="{points}"/>'
            f'<path class="{kind}" stroke-width="2" '
            f'd="M{width - LEGEND + 12},{y}h20"/>'
            f'<text class="small" x="{width - LEGEND + 38}" y="{y + 3.5}">{escape(name)}</text>'
        )
    return svg(width, height, parts)


class _Axis:
    """From values to places on the picture."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self.low, self.high, self.log = low, high, log
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        """Return where a value stands."""
        value, low, high = (math.log10(x) if self.log else x for x in (value, self.low, self.high))
        return self.start + (self.end - self.start) * (value - low) / ((high - low) or 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return a few round values in the range, with their labels."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), 20)
            values = [10.0**power for power in powers if 10.0**power <= self.high * (1 + 1e-9)]
            values = values[:: len(values) // 8 + 1]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) or 1))
            for part in (1, 0.5, 0.2, 0.1):
                first = math.ceil(self.low / (step * part) - 1e-9)
                last = math.floor(self.high / (step * part) + 1e-9)
                values = [step * part * number for number in range(first, last + 1)]
                if len(values) >= 4:
                    break
        return [(value, f"{value:,.10g}") for value in values]


def grid_panels(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    forbidden: Sequence[tuple[int, int]],
    target: tuple[int, int],
    columns: int = 4,
) -> str:
    """Draw grid worlds beside each other.

    Args:
        panels: Values, (row, column), and the action of each cell, by title.
        forbidden: These cells are coloured, and
        target: this one.
        columns: Panels in a row.
    """
    parts = []
    rows, wide = next(iter(panels.values()))[0].shape
    pitch = (wide * CELL + 22, rows * CELL + 34)
    for number, (name, (values, actions)) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({8 + column * pitch[0]},{row * pitch[1]})">')
        parts.append(f'<text x="0" y="18">{escape(name)}</text>')
        for place in np.ndindex(rows, wide):
            kind = "target" if place == target else "forbidden" if place in forbidden else "cell"
            x, y = place[1] * CELL, 26 + place[0] * CELL
            parts.append(
                f'<rect class="cell {kind}" x="{x}" y="{y}" width="{CELL}" height="{CELL}"/>'
                f'<text class="small middle on" x="{x + CELL / 2}" y="{y + 12}">'
                f"{values[place]:.1f}</text>{_arrow(x + CELL / 2, y + 25, int(actions[place]))}"
            )
        parts.append("</g>")
    height = pitch[1] * -(-len(panels) // columns)
    return svg(8 + pitch[0] * min(columns, len(panels)), height, parts)


def _arrow(x: float, y: float, action: int) -> str:
    """Draw where an action goes: up, right, down, left, or nowhere."""
    if action == 4:
        return f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>'
    turn = (-90, 0, 90, 180)[action]
    place = f"translate({x},{y})rotate({turn})"
    return f'<path class="arrow" transform="{place}" d="M-8,0H8m-5,-4l5,4l-5,4"/>'
