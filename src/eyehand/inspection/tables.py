"""All that was found inside a network, and its tables as the page and the terminal show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from eyehand.inspection.activations import Activations
from eyehand.inspection.costs import Costs, Group, Layer
from eyehand.inspection.findings import Finding, by
from eyehand.inspection.geometry import AxisGeometry, MapGeometry


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows."""

    title: str
    caption: str
    picture: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Inspection:
    """All that was found inside a network."""

    name: str
    facts: Mapping[str, str]
    """What the figures depend on: command, inputs, machine, versions."""
    costs: Costs
    maps: tuple[MapGeometry, ...]
    activations: Activations | None
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...]


class Table(NamedTuple):
    """A table: its first column is text, the others are numbers or short words."""

    title: str
    note: str
    """What the columns mean."""
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def headline(costs: Costs) -> list[tuple[str, str]]:
    """Return the totals, each with its name."""
    millions = costs.multiply_adds / 1e6
    each = f", {number(millions / costs.batch)} M for one of {costs.batch}" if costs.batch else ""
    times = f"{number(costs.forward_ms)} ms"
    if costs.backward_ms is not None:
        times += f" + {number(costs.backward_ms)} ms"
    found = [
        ("parameters", f"{costs.parameters:,}"),
        ("multiply-adds, forward", f"{number(millions)} M{each}"),
        ("forward + backward", times),
        ("of it in operators", f"{number(sum(row.ms for row in costs.layers))} ms"),
        ("memory at its peak", f"{number(costs.peak_bytes / 1e6)} MB"),
        ("kept for the backward pass", f"{number(costs.activation_bytes / 1e6)} MB"),
        ("precision", costs.precision),
    ]
    if costs.utilization is not None:
        found.append(("of the matrix-multiply peak", f"{costs.utilization:.1%}"))
    return found


def tables(inspection: Inspection) -> list[Table]:
    """Return the tables that have rows."""
    found = [
        kind_table(inspection.costs.groups),
        layer_table(inspection.costs.layers),
        map_table(inspection.maps),
    ]
    if inspection.activations is not None:
        found += activation_tables(inspection.activations)
    return [table for table in found if table.rows]


def layer_table(layers: Iterable[Layer]) -> Table:
    """Return the costs of every layer."""
    layers = list(layers)
    total = sum(layer.ms for layer in layers) or 1.0
    rows = []
    for layer in layers:
        times = f" x{layer.calls}" if layer.calls > 1 else ", not called" * (layer.calls == 0)
        rows.append(
            (
                f"{layer.name} (own)".strip() if layer.parent else layer.name or "(network)",
                layer.kind + ("" if layer.parent and not layer.name else times),
                by(layer.output or ()),
                f"{layer.parameters:,}",
                number(layer.multiply_adds / 1e6),
                number(layer.activation_bytes / 1e6),
                number(layer.forward_ms),
                "" if layer.backward_ms is None else number(layer.backward_ms),
                f"{layer.ms / total:.1%}",
                "" if layer.intensity is None else number(layer.intensity),
            )
        )
    return Table(
        "Layers",
        "(own): what a parent runs itself, without its children. Multiply-adds of the forward pass "
        "for the whole batch; kept: from the forward to the backward pass; share: of the time of "
        "all layers; FLOP/byte: of both passes.",
        (
            *("layer", "kind", "output", "parameters", "multiply-adds, M", "kept, MB"),
            *("forward, ms", "backward, ms", "share", "FLOP/byte"),
        ),
        rows,
    )


def kind_table(groups: Iterable[Group]) -> Table:
    """Return where the time goes, by kind of operator."""
    rows = [
        (
            group.kind,
            number(group.forward_ms),
            f"{group.forward_share:.1%}",
            "" if group.backward_ms is None else number(group.backward_ms),
            "" if group.backward_share is None else f"{group.backward_share:.1%}",
            number(group.flops / 1e6),
            number(group.moved_bytes / 1e6),
        )
        for group in groups
    ]
    return Table(
        "Where the time goes",
        "The backward pass counts for the operator whose gradient it is. Broadcasting: a small "
        "factor over a large map, as in FiLM, or a bias. FLOP and bytes of both passes; "
        "elementwise work counts no FLOP.",
        (
            *("operators", "forward, ms", "share", "backward, ms", "share"),
            *("MFLOP", "moved, MB"),
        ),
        rows,
    )


def map_table(maps: Iterable[MapGeometry]) -> Table:
    """Return what the cells of every feature map see.

    A map that sees what the row before it sees is left out: one after an activation, for example.
    """
    rows: list[tuple[str, ...]] = []
    for found in maps:
        name, shape = found.layer or "(network)", by(found.shape)
        sees = ("", "", "", f"unknown: {found.unknown}")
        if found.height is not None and found.width is not None:
            axes = (found.height, found.width)
            sees = (
                _both([None if axis.jump is None else number(axis.jump) for axis in axes], "x"),
                by(axis.size for axis in axes),
                _both([None if a.centre is None else f"{a.centre:g}" for a in axes], ", "),
                _remark(axes),
            )
        if not rows or rows[-1][2:] != (shape, *sees):
            rows.append((name, found.kind, shape, *sees))
    return Table(
        "What each map sees",
        "Height and width, in pixels. Jump: from one cell to the next; field: the theoretical "
        "receptive field, padding and holes included; centre: of the first cell's field, the first "
        "pixel being 0. Measured by the gradient of a few cells; a field that no cell shows whole "
        "is given as far as the picture goes. A map that sees what the row before it sees is left "
        "out.",
        ("layer", "kind", "output", "jump", "field", "centre", "remark"),
        rows,
    )


def activation_tables(activations: Activations) -> list[Table]:
    """Return what units and gradients did on the batch."""
    units = [
        (
            row.layer or "(network)",
            f"{row.operator} {row.call}",
            by(row.shape),
            *("" if share is None else f"{share:.1%}" for share in (row.dead, row.saturated)),
        )
        for row in activations.rows
    ]
    gradients = [
        (layer or "(network)", f"{norm:.3g}") for layer, norm in activations.gradients.items()
    ]
    return [
        Table(
            "Units on this batch",
            "Dead: channels of a ReLU that are zero over the whole batch; saturated: values of a "
            "sigmoid or tanh beyond 0.99 of the limit.",
            ("layer", "operator", "output", "dead", "saturated"),
            units,
        ),
        Table(
            "Gradients by depth",
            "Norm of the loss's gradient at the output of each layer with weights, in the order in "
            "which they ran.",
            ("layer", "norm"),
            gradients,
        ),
    ]


def number(value: float) -> str:
    """Write a number with three digits, or all that it has before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _both(texts: list[str | None], between: str) -> str:
    """Write two values, a dash for one that is missing, nothing if both are."""
    return between.join(text or "-" for text in texts) if any(texts) else ""


def _remark(axes: tuple[AxisGeometry, AxisGeometry]) -> str:
    """Return what the numbers alone do not say."""
    remarks = []
    if all(axis.everything for axis in axes):
        remarks.append("sees the whole picture")
    if not all(axis.exact for axis in axes):
        remarks.append("at most so much")
    return ", ".join(remarks)
