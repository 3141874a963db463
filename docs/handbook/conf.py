"""How Sphinx builds the handbook: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "eyehand handbook"
extensions = ["myst_parser", "mathml", "plot"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2  # page.md#heading is a link
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = "eyehand: the handbook"
html_static_path = ["_static"]
html_css_files = ["handbook.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
