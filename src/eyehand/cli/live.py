"""Watch a robot in the browser, tell it what to do, and lead its hand.

Run:
    eyehand live
    eyehand live outputs/demo/policy --task faucet-open
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.live.live_page import LiveConfig
from eyehand.policies.registry import find_checkpoint
from eyehand.runs.live import show_live


@dataclass(frozen=True)
class LiveArguments:
    """One page. The variable EYEHAND_TOKEN can hold its token, which no process list shows."""

    checkpoint: tyro.conf.Positional[Path] = Path("mt50")
    """Folder of a trained policy, or the name of a released one."""
    config: Annotated[LiveConfig, tyro.conf.arg(name="")] = field(default_factory=LiveConfig)
    """Where the page is served, and its first episode."""


def run(arguments: list[str]) -> None:
    """Read the arguments and serve the page."""
    # As the first argument, so that --token replaces it; --help would print a default.
    if token := os.environ.get("EYEHAND_TOKEN"):
        arguments = [f"--token={token}", *arguments]
    wanted = tyro.cli(LiveArguments, args=arguments, prog="eyehand live", description=__doc__)
    show_live(find_checkpoint(wanted.checkpoint), wanted.config)
