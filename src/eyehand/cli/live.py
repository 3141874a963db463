"""Talk to a robot in the browser: watch it, tell it something else, take it by the hand.

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
    """One page. The variable EYEHAND_TOKEN is its token where no list of processes shows it."""

    checkpoint: tyro.conf.Positional[Path] = Path("mt50")
    """Folder of a trained policy, or the name of a released one."""
    config: Annotated[LiveConfig, tyro.conf.arg(name="")] = field(default_factory=LiveConfig)
    """Where it is, and how it begins."""


def run(arguments: list[str]) -> None:
    """Parse, serve."""
    # Put first, a later --token replaces it. As a default, --help would print it.
    if token := os.environ.get("EYEHAND_TOKEN"):
        arguments = [f"--token={token}", *arguments]
    wanted = tyro.cli(LiveArguments, args=arguments, prog="eyehand live", description=__doc__)
    show_live(find_checkpoint(wanted.checkpoint), wanted.config)
