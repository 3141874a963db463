"""The report: one page without any file beside it that says what was measured, and shows it.

Charts are drawn here as SVG, so that they follow the reader's light or dark theme and his width.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from eyehand.evaluation.probes import SWAPPED
from eyehand.evaluation.results import (
    Film,
    Mean,
    Rate,
    Results,
    mean_rows,
    percent,
    percent_range,
    read_results,
)
from eyehand.types import InputError

FILM_BYTES = 7_000_000
"""Films put into the page, at most; in base64 they grow by a third."""
AUTOPLAYED = 12
"""Films that play by themselves, at most: more would keep a phone busy."""
CURVE_POINTS = 400
"""Points of one training curve; more are averaged."""


def write_report(folder: Path, *, training: Path | None = None) -> Path:
    """Write the page of an evaluation.

    Args:
        folder: Folder of the evaluation, with ``results.json`` and films.
        training: Folder of the training run; curves are drawn from its ``metrics.jsonl``, if it has
            one (a checkpoint that was copied elsewhere has none).

    Returns:
        The page, ``report.html`` in ``folder``.

    Raises:
        InputError: If the results are missing, damaged or unfinished, or the metrics damaged.
    """
    found = read_results(folder)
    curves = training_curves(training) if training is not None else ""
    name = Path(found.checkpoint).name
    body = "\n".join(
        [
            f"<h1>{escape(name)}<small>on Meta-World, {escape(found.protocol)}</small></h1>",
            _headline(found),
            f"<p class=lead>{escape(what_was_measured(found))}</p>",
            _section("Success by task", _chart(found)),
            _section("The figures", _table(found)),
            _section("What it depends on", _probes(found)),
            _section("Films", _films(found.films, folder)),
            _section("Training", curves),
            _section("Run it again", _provenance(found)),
        ]
    )
    page = (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
        'content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: {escape(found.protocol)}</title>\n<style>{STYLE}</style></head>"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
    out, partial = folder / "report.html", folder / "report.html.partial"
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)
    return out


def what_was_measured(results: Results) -> str:
    """Return the sentences that a figure must never be quoted without."""
    episodes = next(iter(results.tasks.values())).episodes
    total = sum(task.episodes for task in results.tasks.values())
    first, last = results.seeds
    saw = results.observation
    planned = f"executing {results.execution['steps']} actions of every plan"
    if results.execution["temporal_ensembling"] is not None:
        planned += (
            ", averaged with what earlier plans said of the same moment "
            f"(decay {results.execution['temporal_ensembling']})"
        )
    return (
        f"{results.task_mean.tasks} task{'s' * (len(results.tasks) > 1)}, {episodes} episodes each "
        f"({total} in all), start states {first:,} to {last:,} of the {results.seed_range} range; "
        "training uses 0 to 9,999. An episode is a success if the task is solved within 500 steps. "
        f"The policy saw one {saw['picture']} picture ({saw['camera']}), the state "
        f"({saw['state']}) and the sentence; privileged information: {saw['privileged']}. "
        f"It acted by {planned}. Intervals are 95 %: Wilson's for a rate, bootstrap over episodes "
        "for a mean. They speak of the luck of the start states, not of training again with "
        "another seed."
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>" if content else ""


def _headline(results: Results) -> str:
    """Draw the means, large."""
    figures = []
    for name, mean in mean_rows(results):
        if mean is not None:
            figures.append(
                f"<div><b>{percent(mean.value)}</b><i>{percent_range(mean.interval)}</i>"
                f"<span>{escape(name)}</span></div>"
            )
    return f"<div class=headline>{''.join(figures)}</div>"


def bar(rate: Rate | Mean, *, label: str) -> str:
    """Draw a rate as a bar with its interval; it takes the width that it is given."""
    value = rate.value if isinstance(rate, Mean) else rate.success_rate
    low, high = (f"{100 * end:.2f}%" for end in rate.interval)
    said = escape(f"{label}: {percent(value)}, 95 % interval {percent_range(rate.interval)}")
    grid = "".join(f'<line class=grid x1="{x}%" x2="{x}%" y1=0 y2=18 />' for x in (25, 50, 75))
    return (
        f'<svg class=bar role=img aria-label="{said}"><title>{said}</title>'
        '<rect class=track width="100%" height=18 />'
        f'<rect class=value width="{100 * value:.2f}%" height=18 />{grid}'
        f'<line class=whisker x1="{low}" x2="{high}" y1=9 y2=9 />'
        f'<line class=whisker x1="{low}" x2="{low}" y1=5 y2=13 />'
        f'<line class=whisker x1="{high}" x2="{high}" y1=5 y2=13 /></svg>'
    )


def _chart_row(name: str, rate: Rate | Mean, *, strong: bool = False) -> str:
    value = rate.value if isinstance(rate, Mean) else rate.success_rate
    return (
        f"<div class='row{' strong' * strong}'><span>{escape(name)}</span>"
        f"{bar(rate, label=name)}<b>{percent(value)}</b></div>"
    )


def _chart(results: Results) -> str:
    """Draw a bar per task, under a bar per tier."""
    rows = []
    for tier, group in results.groups.items():
        rows.append(_chart_row(tier, group, strong=True))
        own = {name: task for name, task in results.tasks.items() if task.group == tier}
        for name in sorted(own, key=lambda name: (-own[name].success_rate, name)):
            rows.append(_chart_row(name, own[name]))
    axis = (
        "<div class='row axis'><span></span><div><i>0 %</i><i>25</i><i>50</i><i>75</i>"
        "<i>100 %</i></div><b></b></div>"
    )
    return f"<div class=chart>{''.join(rows)}{axis}</div>"


def _row(cells: Iterable[str], *, tag: str = "td", kind: str = "") -> str:
    joined = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
    return f"<tr class='{kind}'>{joined}</tr>"


def _rate_cells(rate: Rate) -> list[str]:
    counts = f"{rate.successes}/{rate.episodes}"
    return [percent(rate.success_rate), percent_range(rate.interval), counts]


def _table(results: Results) -> str:
    """Write every figure of the evaluation."""
    head = ["task", "success", "95 % interval", "episodes", "mean steps", "of successes", "told"]
    rows = [_row(head, tag="th")]
    for name, task in results.tasks.items():
        short = task.mean_steps_of_successes
        steps = [f"{task.mean_steps:.0f}", "" if short is None else f"{short:.0f}"]
        rows.append(_row([name, *_rate_cells(task), *steps, task.instruction]))
    for tier, group in results.groups.items():
        name = f"{tier}, {group.tasks} of {group.tasks_in_group} tasks"
        rows.append(_row([name, *_rate_cells(group), "", "", ""], kind="strong"))
    for name, mean in mean_rows(results):
        figures = ["not covered", ""]
        if mean is not None:
            figures = [percent(mean.value), percent_range(mean.interval)]
        rows.append(_row([name, *figures, "", "", "", ""], kind="strong"))
    return f"<div class=scroll><table>{''.join(rows)}</table></div>"


def _probes(results: Results) -> str:
    """Write the controls beside the same starts without them."""
    if not results.probes:
        return ""
    rows = []
    for name, probe in results.probes.items():
        tasks = f"{len(probe.tasks)} task{'s' * (len(probe.tasks) > 1)}"
        counts = f"{tasks}, {probe.successes}/{probe.episodes}"
        interval = percent_range(probe.interval)
        rows.append(
            f"<div class=probe><h3>{escape(name)}</h3><p>{escape(probe.question)}</p>"
            f"{_chart_row('as it is', probe.unprobed)}{_chart_row('probed', probe, strong=True)}"
            f"<p class=note>{escape(counts)}, 95 % interval {escape(interval)}</p></div>"
        )
    lonely = ""
    if SWAPPED not in results.probes:
        lonely = "<p class=note>No two of these tasks share a scene: no sentence was swapped.</p>"
    return f"<div class=probes>{''.join(rows)}</div>{lonely}"


def _films(films: Sequence[Film], folder: Path) -> str:
    """Put the films into the page, a task's success and failure side by side."""
    left, shown, cards = FILM_BYTES, 0, []
    autoplay = " autoplay" if len(films) <= AUTOPLAYED else ""
    for task in dict.fromkeys(film.task for film in films):
        figures = []
        for film in films:
            file = folder / film.file
            if film.task != task or not file.is_file() or file.stat().st_size > left:
                continue
            content = file.read_bytes()
            left, shown = left - len(content), shown + 1
            result = "success" if film.success else "failure"
            figures.append(
                f"<figure><video controls{autoplay} muted loop playsinline preload=metadata "
                f'src="data:video/mp4;base64,{b64encode(content).decode("ascii")}"></video>'
                f"<figcaption class={result}>{result}, seed {film.seed}</figcaption></figure>"
            )
        if figures:
            cards.append(f"<div><h3>{escape(task)}</h3><div>{''.join(figures)}</div></div>")
    missing = len(films) - shown
    note = f"<p class=note>{missing} more in the folder <code>films</code>.</p>" if missing else ""
    return f"<div class=films>{''.join(cards)}</div>{note}" if films else ""


def training_curves(training: Path) -> str:
    """Draw every figure that training wrote down over its steps.

    Args:
        training: Folder of the run, with ``metrics.jsonl``: one JSON object a line, with ``step``.

    Returns:
        HTML, empty if there is no such file or less than two lines in it.

    Raises:
        InputError: If a line is damaged, but for the last, which a kill may have cut short.
    """
    file = training / "metrics.jsonl"
    if not file.is_file():
        return ""
    series: dict[str, list[tuple[float, float]]] = {}
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = float(entry["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise InputError(f"line {number} of {file} is damaged.") from error
        for name, value in entry.items():
            if (
                name not in ("step", "seconds")
                and isinstance(value, (int, float))
                and math.isfinite(value)
            ):
                series.setdefault(name, []).append((step, float(value)))
    drawn = [curve(name, points) for name, points in series.items() if len(points) > 1]
    return f"<div class=curves>{''.join(drawn)}</div>" if drawn else ""


def curve(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw one curve; a loss on a logarithmic axis."""
    size = math.ceil(len(points) / CURVE_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    xs = [group[-1][0] for group in groups]
    ys = [sum(y for _, y in group) / len(group) for group in groups]
    logarithmic = "loss" in name and min(ys) > 0
    heights = [math.log(y) for y in ys] if logarithmic else ys
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    width = (xs[-1] - xs[0]) or 1.0
    path = " ".join(
        f"{300 * (x - xs[0]) / width:.1f},{100 * (1 - (y - low) / span):.1f}"
        for x, y in zip(xs, heights, strict=True)
    )
    kind = ", log" if logarithmic else ""
    return (
        f"<figure><figcaption>{escape(name)}{kind} <b>{points[-1][1]:.4g}</b></figcaption>"
        f'<div class=plot><svg viewBox="0 -2 300 104" preserveAspectRatio=none role=img '
        f'aria-label="{escape(name)} over steps"><polyline points="{path}" /></svg>'
        f"<i class=top>{max(ys):.3g}</i><i class=bottom>{min(ys):.3g}</i></div>"
        f"<div class=steps><i>{xs[0]:,.0f}</i><i>step {xs[-1]:,.0f}</i></div></figure>"
    )


def _provenance(results: Results) -> str:
    """Write the command and what the figures depend on."""
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    facts = {
        "commit": results.commit or "unknown (not run from a git checkout)",
        "checkpoint": f"{results.checkpoint}, sha256 {results.checkpoint_sha256[:16]}",
        "versions": versions,
        "execution": ", ".join(f"{name} {value}" for name, value in results.execution.items()),
        "time": f"{results.seconds:,.0f} s for {results.steps:,} steps, "
        f"{results.steps_per_second:,.0f} steps/s",
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<pre>{escape(results.command)}</pre><dl>{rows}</dl>"


STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--ink:#1d1f23;--soft:#6a6f78;--line:#dfdcd4;
--track:#efece4;--bar:#8fb3de;--strong:#3f75b5;--probe:#e0a458;--good:#1c8a48;--bad:#c2571a;--card:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#eceae4;--soft:#9aa0aa;--line:#32363d;
--track:#23272d;--bar:#41699c;--strong:#6c9fdc;--probe:#c98b3b;--good:#4fd382;--bad:#f08a4b;--card:#1d2025}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.15;margin:0 0 1.5rem;letter-spacing:-.02em;overflow-wrap:anywhere}
h1 small{display:block;font-size:1rem;font-weight:400;color:var(--soft);letter-spacing:0;
margin-top:.3rem}
h2{font-size:1.2rem;margin:3rem 0 1rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .25rem}
i{font-style:normal}
.headline{display:flex;flex-wrap:wrap;gap:1rem 3rem;margin-bottom:1.5rem}
.headline div{max-width:20rem}
.headline b{font-size:2.6rem;line-height:1;letter-spacing:-.03em;white-space:nowrap}
.headline i{margin-left:.6rem;color:var(--soft);white-space:nowrap}
.headline span{display:block;color:var(--soft);margin-top:.3rem}
.lead{max-width:46rem}
.row{display:grid;grid-template-columns:minmax(6.5rem,12rem) 1fr 4.2rem;gap:.75rem;
align-items:center;margin:.2rem 0}
.row b{font-weight:400;text-align:right;white-space:nowrap}
.row span{overflow-wrap:anywhere;line-height:1.2}
.row.strong{margin-top:1rem}
.row.strong span,.row.strong b{font-weight:650}
.row.axis i{width:0;display:flex;justify-content:center;white-space:nowrap}
.row.axis div{display:flex;justify-content:space-between;color:var(--soft);font-size:.8rem}
.bar{display:block;width:100%;height:18px;overflow:visible}
.track{fill:var(--track)}.value{fill:var(--bar)}
.strong .value{fill:var(--strong)}.probe .strong .value{fill:var(--probe)}
.grid{stroke:var(--paper);stroke-width:1}
.whisker{stroke:var(--ink);stroke-width:1.5}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:500}
th:first-child,td:first-child,th:last-child,td:last-child{text-align:left}
th:first-child,td:first-child{padding-left:0}
td:last-child{white-space:normal;min-width:12rem;color:var(--soft)}
tr.strong td{font-weight:650}tr.strong td:first-child{white-space:normal;min-width:13rem}
.probes{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1rem}
.probe{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem}
.probe p{margin:.1rem 0 .6rem;font-size:.92rem;color:var(--soft)}
.probe .row{grid-template-columns:4.5rem 1fr 4.2rem}.probe .row.strong{margin-top:.2rem}
.probe .note{margin:.5rem 0 0}
.note{color:var(--soft);font-size:.85rem}
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));
gap:1.75rem 2rem}
.films>div>div{display:flex;gap:.75rem}
.films figure{flex:0 1 50%;margin:0}
.films video{width:100%;display:block;border-radius:8px;background:#14161a}
.films figcaption{font-size:.85rem;margin-top:.3rem}
.success{color:var(--good)}.failure{color:var(--bad)}
.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));
gap:1.5rem 2rem}
.curves figure{margin:0}
.curves figcaption{display:flex;justify-content:space-between;font-size:.9rem;margin-bottom:.3rem}
.plot{position:relative;border:solid var(--line);border-width:0 0 1px 1px}
.plot svg{display:block;width:100%;height:7rem}
.plot polyline{fill:none;stroke:var(--bar);stroke-width:1.75;vector-effect:non-scaling-stroke;
stroke-linejoin:round}
.plot i{position:absolute;left:1px;padding:0 .3rem .15rem;background:var(--paper);
font-size:.75rem;color:var(--soft);line-height:1}
.plot .top{top:0}.plot .bottom{bottom:1px}
.steps{display:flex;justify-content:space-between;font-size:.75rem;color:var(--soft)}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem;
white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.25rem;font-size:.92rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:32rem){main{padding-top:1.5rem}
.row{grid-template-columns:6.5rem 1fr 3.9rem;gap:.5rem}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}}
"""
"""Style of the page: follows the reader's theme, readable from a phone to a wide screen."""
