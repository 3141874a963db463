"""The terminal shows totals, tables and findings, and of a long network the costly part."""

from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import nn

from eyehand.inspection import terminal
from eyehand.inspection.costs import measure_costs
from eyehand.inspection.findings import Finding, Place
from eyehand.inspection.tables import Inspection


def printed(model: nn.Module, inputs: torch.Tensor, *, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width)
    found = Inspection(
        name="[bold]net[/bold]",
        facts={},
        costs=measure_costs(model, (inputs,), repeats=1),
        maps=(),
        activations=None,
        findings=(
            Finding("Dead units", "Do this.", (Place("1", "is dead"), Place("", "here too"))),
            Finding("Gridding", "Nothing to do."),
        ),
        figures=(),
    )
    terminal.show(found, console)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_everything_is_printed_as_it_is() -> None:
    text = printed(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.zeros(4, 3))
    assert "[bold]net[/bold]" in text  # a name is no markup
    assert "Where the time goes" in text
    assert "ReLU" in text
    assert "  look here  Dead units: Do this." in text
    assert "- 1: is dead" in text
    assert "- (network): here too" in text
    assert "  ok         Gridding: Nothing to do." in text


def test_of_a_long_network_the_slowest_layers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ROWS", 2)
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)), nn.Linear(2, 200_000))
    text = printed(model, torch.zeros(8, 2))
    assert "2 more on the page" in text
    assert "600,000" in text  # parameters of the last, the slowest


def test_a_narrow_terminal_drops_columns_and_breaks_no_number() -> None:
    model = nn.Sequential(nn.Linear(1234, 2), nn.ReLU())
    x = torch.zeros(4, 1234)
    wide, narrow = printed(model, x), printed(model, x, width=80)
    assert "FLOP/byte" in wide
    assert "FLOP/byte" not in narrow
    assert "2,470" in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 80
