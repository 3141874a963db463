"""Show what the layers of a network see, cost and waste: a table here, and a page with pictures.

MODEL is a policy (bcz, roboflamingo), a released one (mt50), a vision network (resnet18, unet), the
folder of a checkpoint, timm:NAME, or module:factory for a function that returns a torch module.

Run:
    eyehand inspect bcz
    eyehand inspect resnet18 --out outputs/resnet18.html
    eyehand inspect my_project.networks:build --image-size 64
"""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from eyehand.files import check_place, replace_text
from eyehand.inspection.page import html_page
from eyehand.inspection.terminal import show
from eyehand.runs.inspect import InspectConfig, inspect_model


def run(arguments: list[str]) -> None:
    """Read the arguments, inspect, print the tables, write the page."""

    def start(
        model: tyro.conf.Positional[str],
        config: Annotated[InspectConfig, tyro.conf.arg(name="")],
        out: Path = Path("outputs/inspection.html"),
    ) -> None:
        """Inspect.

        Args:
            model: The model to inspect.
            config: Pictures, layers and precision.
            out: File of the page.
        """
        check_place(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        console = Console(highlight=False)
        with Console(stderr=True).status(escape(f"looking into {model}")):
            inspection = inspect_model(model, config)
        show(inspection, console)
        replace_text(out, html_page(inspection))
        console.print(f"with pictures: {out}", markup=False, soft_wrap=True)

    tyro.cli(start, args=arguments, prog="eyehand inspect", description=__doc__)
