"""Serve a policy over the network, in openpi's protocol.

Run:
    eyehand serve mt50 --port 8000
    eyehand eval --server ws://127.0.0.1:8000 --tasks drawer-open --out outputs/served
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eyehand.policies.registry import find_checkpoint
from eyehand.runs.serve import serve_checkpoint
from eyehand.serving.server import ServeConfig


@dataclass(frozen=True)
class ServeArguments:
    """One server. The variable EYEHAND_TOKEN can hold its token, which no process list shows."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a trained policy, or the name of a released one."""
    config: Annotated[ServeConfig, tyro.conf.arg(name="")] = field(default_factory=ServeConfig)
    """Where it listens, and what it accepts."""


def run(arguments: list[str]) -> None:
    """Read the arguments and serve the policy."""
    # As the first argument, so that --token replaces it; --help would print a default.
    if token := os.environ.get("EYEHAND_TOKEN"):
        arguments = [f"--token={token}", *arguments]
    wanted = tyro.cli(ServeArguments, args=arguments, prog="eyehand serve", description=__doc__)
    serve_checkpoint(find_checkpoint(wanted.checkpoint), wanted.config)
