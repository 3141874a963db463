"""Templates: names are escaped, and a value that is missing is an error, not an empty place."""

import pytest
from jinja2 import UndefinedError

from eyehand.evaluation.page import TEMPLATES, fill
from eyehand.evaluation.results import Rate


def row(label: str, rate: Rate) -> str:
    return str(TEMPLATES.get_template("charts.html").module.row(label, rate))  # type: ignore[attr-defined]


def test_the_interval_is_drawn_where_it_belongs() -> None:
    drawn = row("a < b", Rate(20, 15, 0.75, (0.5313, 0.8881)))
    assert 'class=value width="75.00%"' in drawn
    assert 'class=whisker x1="53.13%" x2="88.81%"' in drawn
    assert "a &lt; b: 75.0 %, 95 % interval 53.1 to 88.8" in drawn
    assert "a < b" not in drawn


def test_figures_are_written_alike_everywhere() -> None:
    template = TEMPLATES.from_string("{{ 0.839|percent }}, {{ (0.8, 1.0)|percent_range }}")
    assert template.render() == "83.9 %, 80.0 to 100.0"
    assert TEMPLATES.from_string("{{ 1234567.8|thousands }}").render() == "1,234,568"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'runs' is undefined"):
        fill("comparison.svg", title="no runs")
