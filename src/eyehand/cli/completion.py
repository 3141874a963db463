"""Tab completion: the script that tyro writes for a shell, with every verb as a subcommand.

Run:
    eyehand --tyro-print-completion bash > ~/.eyehand-completion
    echo . ~/.eyehand-completion >> ~/.bashrc
"""

import ast
import io
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Any

import tyro

from eyehand.cli import COMPLETION, VERBS
from eyehand.recipes import RECIPES
from eyehand.types import InputError

SHELLS = ("bash", "zsh")
_SPEC = re.compile(r"^COMPLETION_SPEC = (.*)$", re.MULTILINE)


def run(arguments: list[str]) -> None:
    """Print the script."""
    sys.stdout.write(completion(" ".join(arguments), VERBS))


def completion(shell: str, verbs: Iterable[str]) -> str:
    """Return the script that completes verbs, recipes, flags, choices and files.

    Args:
        shell: A name of ``SHELLS``.
        verbs: The verbs to complete.

    Raises:
        InputError: If tyro has no script for this shell.
    """
    if shell not in SHELLS:
        raise InputError(f"{COMPLETION} takes {' or '.join(SHELLS)}. Got {shell!r}.")

    def all_verbs() -> None:
        """A robot sees camera images, reads a sentence, and acts."""

    whole = _printed(lambda: tyro.cli(all_verbs, args=[COMPLETION, shell], prog="eyehand"))
    specs: dict[str, Any] = {}
    for verb in verbs:
        run = import_module(f"eyehand.cli.{verb}").run
        if verb == "train":  # each recipe has flags of its own
            recipes = {name: _spec(run, [name, COMPLETION, shell]) for name in RECIPES}
            specs[verb] = _spec(run, [next(iter(RECIPES)), COMPLETION, shell])
            specs[verb] |= {"options": [], "subcommands": recipes}
        else:
            specs[verb] = _spec(run, [COMPLETION, shell])
    found = ast.literal_eval(_SPEC.findall(whole)[0]) | {"subcommands": specs}
    return _SPEC.sub(lambda _: f"COMPLETION_SPEC = {found!r}", whole)


def _spec(run: Callable[[list[str]], object], arguments: list[str]) -> dict[str, Any]:
    """Return what tyro's script of one verb or recipe knows about it."""
    spec = ast.literal_eval(_SPEC.findall(_printed(lambda: run(arguments)))[0])
    return {"description": "", **spec}


def _printed(call: Callable[[], object]) -> str:
    said = io.StringIO()
    token = os.environ.pop("EYEHAND_TOKEN", None)  # otherwise serve and live put it before the flag
    try:
        with redirect_stdout(said), suppress(SystemExit):
            call()
    finally:
        if token is not None:
            os.environ["EYEHAND_TOKEN"] = token
    return said.getvalue()
