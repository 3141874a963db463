"""What all pages share: a style sheet, and templates in which a missing value is an error."""

import pytest
from jinja2 import UndefinedError

from eyehand.page import page_templates


@pytest.mark.parametrize(
    ("room", "template"),
    [("evaluation", "report.html"), ("inspection", "inspection.html"), ("runs", "look.html")],
)
def test_every_page_includes_the_shared_style_sheet(room: str, template: str) -> None:
    templates = page_templates(f"eyehand.{room}")
    source, _, _ = templates.loader.get_source(templates, template)  # type: ignore[union-attr]
    assert '{% include "page.css" %}' in source
    assert "--paper: #fbfaf7" in templates.get_template("page.css").render()


def test_names_are_escaped_and_missing_values_are_errors() -> None:
    template = page_templates("eyehand.runs").from_string("<b>{{ name }}</b>")
    assert template.render(name="a < b") == "<b>a &lt; b</b>"
    with pytest.raises(UndefinedError):
        template.render()
