"""The tables say what was measured, in words a reader can check."""

import pytest
import torch
from torch import nn

from eyehand.inspection.activations import measure_activations
from eyehand.inspection.costs import measure_costs
from eyehand.inspection.findings import Finding
from eyehand.inspection.geometry import measure_geometry
from eyehand.inspection.tables import Figure, Inspection, headline, number, tables


def inspect(module: nn.Module, *inputs: torch.Tensor, name: str = "net") -> Inspection:
    return Inspection(
        name=name,
        facts={"command": "eyehand inspect net"},
        costs=measure_costs(module, inputs, repeats=1),
        maps=measure_geometry(module, *inputs).maps,
        activations=measure_activations(module, inputs),
        findings=(Finding("a rule", "nothing to do"),),
        figures=(),
    )


@pytest.fixture(scope="module")
def found() -> Inspection:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))
    return inspect(model, torch.randn(2, 3, 8, 8))


def test_tables_hold_what_was_measured(found: Inspection) -> None:
    by_title = {table.title: table for table in tables(found)}
    assert list(by_title) == [
        "Where the time goes",
        "Layers",
        "What each map sees",
        "Units on this batch",
        "Gradients by depth",
    ]
    for table in by_title.values():
        assert {len(row) for row in table.rows} == {len(table.head)}
    first = by_title["Layers"].rows[0]
    assert first[:5] == ("0", "Conv2d", "2x4x3x3", "112", number(2 * 4 * 9 * 27 / 1e6))
    assert by_title["What each map sees"].rows[0][:6] == (
        "0",
        "Conv2d",
        "2x4x3x3",
        "2x2",
        "3x3",
        "1, 1",
    )
    assert by_title["Units on this batch"].rows[0][:2] == ("1", "relu 0")
    assert [row[0] for row in by_title["Gradients by depth"].rows] == ["0", "3"]


def test_maps_that_see_the_same_are_one_row(found: Inspection) -> None:
    (maps,) = (table for table in tables(found) if table.title == "What each map sees")
    assert [row[0] for row in maps.rows] == ["0", "2", "3"]  # the ReLU sees what it reads


def test_totals_are_for_the_batch_and_for_one(found: Inspection) -> None:
    totals = dict(headline(found.costs))
    whole = 2 * (4 * 9 * 27 + 36 * 5) / 1e6
    assert (
        totals["multiply-adds, forward"] == f"{number(whole)} M, {number(whole / 2)} M for one of 2"
    )
    assert totals["parameters"] == f"{112 + 36 * 5 + 5:,}"
    assert "of the matrix-multiply peak" not in totals


def test_a_frozen_network_has_empty_cells_not_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).requires_grad_(False)
    for table in tables(inspect(model, torch.randn(1, 3, 8, 8))):
        if "backward, ms" in table.head:
            assert table.rows[0][table.head.index("backward, ms")] == ""


def test_figures_refuse_what_is_no_picture() -> None:
    with pytest.raises(Exception, match="height width 3"):
        Figure("a", "b", torch.zeros(2, 2, 3).numpy())
