"""An inspection as one page without any file beside it, from the templates in ``templates/``.

It follows the reader's light or dark theme and reads on a phone. Without scripts it shows all; the
few lines of script sort a table by the column that is clicked.
"""

from base64 import b64encode
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eyehand.inspection.tables import Inspection, headline, number, tables
from eyehand.page import page_templates

SHOWN_WIDTH = 320
"""Pixels up to which small pictures are enlarged, by whole factors."""


def html_page(inspection: Inspection) -> str:
    """Return an inspection as the text of a page."""
    templates = page_templates("eyehand.inspection")
    templates.filters |= {"number": number, "as_png": as_png, "shown_width": shown_width}
    return templates.get_template("inspection.html").render(
        inspection=inspection,
        headline=headline(inspection.costs),
        tables=tables(inspection),
    )


def as_png(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a picture as a data address, which needs no file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"


def shown_width(picture: UInt8[np.ndarray, "height width 3"]) -> int:
    """Return the pixels at which a picture is shown: a small one enlarged by a whole factor."""
    width = picture.shape[1]
    return width * max(1, SHOWN_WIDTH // width)
