"""Check that this machine can run eyehand, and say how to fix what fails.

Run:
    eyehand doctor
"""

from dataclasses import dataclass
from typing import Literal

import tyro
from rich.console import Console
from rich.markup import escape

from eyehand.runs.doctor import CHECKS


@dataclass(frozen=True)
class DoctorArguments:
    """What to check."""

    only: (
        Literal["python", "torch", "graphics", "language", "pictures", "libero", "ray", "disk"]
        | None
    ) = None
    """One group of checks instead of all."""


def run(arguments: list[str]) -> int:
    """Print a line for each check; return 1 if a required one failed."""
    wanted = tyro.cli(DoctorArguments, args=arguments, prog="eyehand doctor", description=__doc__)
    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for name, checks in CHECKS.items():
        if wanted.only not in (None, name):
            continue
        for check in checks():
            mark = (
                "[green]ok  [/]" if check.passed else "[red]FAIL[/]" if check.required else "no  "
            )
            console.print(f"{mark} {check.name:<16} {escape(check.found)}")
            if not check.passed and check.mend:
                console.print(f"          to fix it:  [bold]{escape(check.mend)}[/]")
            failed |= check.required and not check.passed
    return int(failed)
