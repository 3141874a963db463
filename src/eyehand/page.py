"""Pages from Jinja2 templates: how they are filled in, and the style sheet that all of them share.

A room keeps its templates in its own folder ``templates``; ``page.css`` is included by each.
"""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str) -> Environment:
    """Return the templates of a room such as ``eyehand.runs``, and those that all rooms share.

    Names and sentences are escaped; a value that a template lacks is an error.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("eyehand")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
