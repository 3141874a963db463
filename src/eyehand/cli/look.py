"""Look into a data set: a page with its episodes by task, films, states, actions and statistics.

The data set is any folder in the LeRobot v3 layout. The page opens from disk, without a network.

Run:
    eyehand look outputs/demo/data
    eyehand look outputs/demo/data --episodes 5 --out outputs/page --rerun outputs/seen.rrd
"""

import tyro
from rich.console import Console

from eyehand.runs.look import BrowserConfig, write_browser


def run(arguments: list[str]) -> None:
    """Parse, write the page, say where it is."""
    config = tyro.cli(BrowserConfig, args=arguments, prog="eyehand look", description=__doc__)
    page = write_browser(config)
    Console().print(f"open {page} in a browser", markup=False, highlight=False, soft_wrap=True)
