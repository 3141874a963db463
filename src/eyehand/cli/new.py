"""Write a new policy, head, suite or update and its test: an example that works, to be changed.

In a checkout of eyehand the file goes into the room of its kind (policies, policies/heads, envs or
training, in src/eyehand), its test to the mirrored path in tests, and what is printed says which
line makes it known. Elsewhere, or with --out, NAME.py and test_NAME.py go into the working folder,
or into --out, and import eyehand as a library. No file is overwritten.

Run:
    eyehand new suite my-arm
    eyehand new head my-head --out experiments
"""

import os
from pathlib import Path

import tyro
from rich.console import Console

from eyehand.runs.new import Kind, find_checkout, write_new


def run(arguments: list[str]) -> None:
    """Parse, write, say what is left to do."""

    def start(
        kind: tyro.conf.Positional[Kind],
        name: tyro.conf.Positional[str],
        out: Path | None = None,
    ) -> None:
        """Write the two files.

        Args:
            kind: What it is.
            name: Lower-case words with - or _ between them, such as my-arm.
            out: Folder for both files; left out, see above.
        """
        checkout = find_checkout(Path.cwd()) if out is None else None
        folder = Path(os.path.relpath(checkout)) if checkout else out or Path()
        new = write_new(kind, name, folder=folder, checkout=checkout is not None)
        Console(highlight=False, markup=False, soft_wrap=True).print(
            f"{new.source} is written, and its test. Run it: pytest {new.test}\n{new.advice}"
        )

    tyro.cli(start, args=arguments, prog="eyehand new", description=__doc__)
