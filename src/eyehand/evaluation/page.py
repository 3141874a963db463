"""The templates of pages and plots: files in ``templates/``, filled in by Jinja2."""

from typing import Any

from eyehand.evaluation.results import percent, percent_range
from eyehand.page import page_templates

TEMPLATES = page_templates("eyehand.evaluation")
TEMPLATES.filters |= {
    "percent": percent,
    "percent_range": percent_range,
    "thousands": "{:,.0f}".format,
}


def fill(template: str, **values: Any) -> str:
    """Return the text of a file in ``templates/`` with ``values`` in their places.

    Raises:
        jinja2.TemplateNotFound: If there is no such file.
        jinja2.UndefinedError: If a value is missing.
    """
    return TEMPLATES.get_template(template).render(**values)
