"""An inspection as one page without any file beside it.

It follows the reader's light or dark theme and reads on a phone. Without scripts it shows all; the
few lines of script sort a table by the column that is clicked.
"""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eyehand.inspection.costs import Costs
from eyehand.inspection.findings import Finding
from eyehand.inspection.inspection import Figure, Inspection, Sheet, headline, number, sheets

SHOWN_WIDTH = 320
"""Pixels up to which small pictures are enlarged, by whole factors."""


def write_page(inspection: Inspection, page: Path) -> Path:
    """Write an inspection as HTML.

    Args:
        inspection: What was found.
        page: The file; replaced if it exists.

    Returns:
        The file.
    """
    partial = page.with_name(page.name + ".partial")
    partial.write_text(html_page(inspection), encoding="utf-8")
    partial.replace(page)
    return page


def html_page(inspection: Inspection) -> str:
    """Return the page.

    Args:
        inspection: What was found.
    """
    name = escape(inspection.name)
    totals = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>"
        for label, value in headline(inspection.costs)
    )
    facts = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>"
        for label, text in inspection.facts.items()
    )
    sections = [
        f"<h1>{name}<small>seen from inside</small></h1>",
        f"<div class=headline>{totals}</div>",
        _section("Findings", _findings(inspection.findings)),
        _section("Pictures", _figures(inspection.figures)),
        *(
            _section(sheet.title, (_chart(inspection.costs) if index == 0 else "") + _table(sheet))
            for index, sheet in enumerate(sheets(inspection))
        ),
        _section("What the figures depend on", f"<dl>{facts}</dl>" if facts else ""),
    ]
    body = "\n".join(sections)
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
        f'content="width=device-width, initial-scale=1"><title>Inside {name}</title>\n'
        f"<style>{STYLE}</style></head><body><main>\n{body}\n</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>" if content else ""


def _findings(findings: Iterable[Finding]) -> str:
    """List the findings under their rules."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    if not by_rule:
        return "<p>None: every rule that was checked holds.</p>"
    cards = []
    for rule, group in by_rule.items():
        items = "".join(
            f"<li><code>{escape(one.layer or '(network)')}</code> {escape(one.message)}</li>"
            for one in group
        )
        cards.append(f"<div class=card><h3>Not so: {escape(rule)}</h3><ul>{items}</ul></div>")
    return "".join(cards)


def _chart(costs: Costs) -> str:
    """Draw where the time goes, forward over backward."""
    rows = []
    for group in costs.groups:
        bars = ""
        for kind, share in (("forward", group.forward_share), ("backward", group.backward_share)):
            if share is not None:
                bars += f"<i class={kind} style='width:{100 * share:.2f}%'></i>"
        ms = number(group.forward_ms + (group.backward_ms or 0.0))
        rows.append(
            f"<div class=row><span>{group.kind}</span><div>{bars}</div><b>{ms} ms</b></div>"
        )
    legend = "<p class=note><i class='key forward'></i> share of the forward pass"
    if costs.backward_ms is not None:
        legend += " &nbsp; <i class='key backward'></i> share of the backward pass"
    return f"<div class=chart>{''.join(rows)}</div>{legend}</p>"


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in sheet.head)
    rows = []
    for first, *rest in sheet.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        rows.append(f"<tr><th scope=row>{escape(first)}</th>{cells}</tr>")
    return (
        f"<p class=note>{escape(sheet.note)}</p><div class=scroll tabindex=0><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figures(figures: Iterable[Figure]) -> str:
    shown = "".join(
        f"<figure><h3>{escape(figure.title)}</h3>{_image(figure.picture, figure.title)}"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for figure in figures
    )
    return f"<div class=figures>{shown}</div>" if shown else ""


def _image(picture: UInt8[np.ndarray, "height width 3"], title: str) -> str:
    """Return the picture, in the page; a small one enlarged with its pixels kept sharp."""
    file = BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    width = picture.shape[1] * max(1, SHOWN_WIDTH // picture.shape[1])
    data = b64encode(file.getvalue()).decode("ascii")
    return f'<img alt="{escape(title)}" style="width:{width}px" src="data:image/png;base64,{data}">'


SCRIPT = """
for(const head of document.querySelectorAll("thead th"))head.onclick=()=>{
const column=head.cellIndex,body=head.closest("table").tBodies[0],rows=[...body.rows],
text=row=>row.cells[column].textContent,value=row=>parseFloat(text(row).replaceAll(",","")),
down=head.ariaSort!=="descending";
for(const other of head.parentNode.cells)other.ariaSort=null;
head.ariaSort=down?"descending":"ascending";
const compare=(a,b)=>{const x=value(a),y=value(b);
return isNaN(x)||isNaN(y)?isNaN(y)-isNaN(x)||text(a).localeCompare(text(b)):x-y};
rows.sort((a,b)=>down?compare(b,a):compare(a,b));body.append(...rows)};
"""
"""Sorts a table by a column; a second click turns the order round."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--ink:#1d1f23;--soft:#6a6f78;--line:#dfdcd4;
--track:#efece4;--forward:#3f75b5;--backward:#d08b35;--card:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#eceae4;--soft:#9aa0aa;--line:#32363d;
--track:#23272d;--forward:#6c9fdc;--backward:#d99a4a;--card:#1d2025}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:76rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.15;margin:0 0 1.5rem;letter-spacing:-.02em;overflow-wrap:anywhere}
h1 small{display:block;font-size:1rem;font-weight:400;color:var(--soft);letter-spacing:0;
margin-top:.3rem}
h2{font-size:1.2rem;margin:3rem 0 1rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .35rem;overflow-wrap:anywhere}
.headline{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:1rem}
.headline b{display:block;font-size:1.25rem;line-height:1.25;letter-spacing:-.01em}
.headline span{color:var(--soft);font-size:.9rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem;
margin-bottom:1rem}
.card ul{margin:0;padding-left:1.1rem}
.card li{margin:.2rem 0;overflow-wrap:anywhere}
code{font-size:.9em;background:var(--track);border-radius:4px;padding:.1em .35em}
.note{color:var(--soft);font-size:.88rem;max-width:52rem}
.chart{max-width:52rem}
.row{display:grid;grid-template-columns:minmax(6.5rem,11rem) 1fr 6rem;gap:.75rem;align-items:center;
margin:.3rem 0}
.row div{background:var(--track)}
.row i{display:block;height:8px}
.row b{font-weight:400;text-align:right;white-space:nowrap}
.row span{line-height:1.2}
.forward{background:var(--forward)}.backward{background:var(--backward)}
.key{display:inline-block;width:.8em;height:.8em}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{color:var(--soft);font-weight:500;cursor:pointer;user-select:none}
th:first-child{text-align:left;padding-left:0;font-weight:500}
[aria-sort=descending]::after{content:" \\2193"}[aria-sort=ascending]::after{content:" \\2191"}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));
gap:2rem 1.5rem}
figure{margin:0}
img{display:block;max-width:100%;height:auto;image-rendering:pixelated;border-radius:4px}
figcaption{color:var(--soft);font-size:.88rem;margin-top:.4rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.25rem;font-size:.92rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:32rem){main{padding-top:1.5rem}
.row{grid-template-columns:6.5rem 1fr 5rem;gap:.5rem}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}}
"""
"""Style of the page: follows the reader's theme, readable from a phone to a wide screen."""
