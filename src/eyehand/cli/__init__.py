"""The command line: ``eyehand VERB``; one file a verb, imported only when it is named."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "demo": "From nothing to a robot that obeys a sentence: record, train, evaluate, report.",
    "reproduce": "Make a published result from nothing, such as mt50: fifty tasks, one policy.",
    "record": "Record demonstrations with the simulator's scripted experts.",
    "train": "Train a policy on a data set, by the recipe that you name.",
    "eval": "Measure a policy closed loop; write results.json and report.html.",
    "compare": "Train and measure variants of a recipe; say which differences are real.",
    "look": "Look into a data set: a page with its films, curves and statistics.",
    "classify": "Train a vision network on labelled pictures, and measure it.",
    "segment": "Train a network to say what every pixel of a robot scene shows.",
    "inspect": "Show what the layers of a network see, cost and waste.",
    "play": "Film one episode of a policy that obeys a sentence.",
    "live": "Talk to a robot in the browser: watch, tell it something else, take its hand.",
    "serve": "Serve a policy over the wire, by openpi's protocol.",
    "new": "Write a new policy, head, suite or update, and its test, to begin with.",
    "doctor": "Check that this machine can run eyehand, and say how to mend what fails.",
}
"""Every verb and what it does; verb ``x`` is the module ``eyehand.cli.x``."""
COMPLETION = "--tyro-print-completion"
"""Prints a script for tab completion; every verb has this flag from tyro."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 2 a mistake in what was given, 130 stopped.

    Args:
        arguments: What stands after ``eyehand``; left out, what the shell gave.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        from eyehand import __version__

        sys.stdout.write(f"eyehand {__version__}\n")
        return 0
    verb = "completion" if arguments[0] == COMPLETION else arguments[0]
    return _run(verb, arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from eyehand.functional.names import unknown_name

    if verb not in (*VERBS, "completion"):
        sys.stderr.write(f"eyehand: {unknown_name('verb', verb, VERBS)}\n")
        return 2
    from eyehand.types import InputError  # brings torch: only a verb pays for it

    try:
        return import_module(f"eyehand.cli.{verb}").run(arguments) or 0
    except InputError as error:
        sys.stderr.write(f"eyehand: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"\neyehand: {verb} was stopped; what it finished is kept.\n")
        return 130
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {sentence}" for verb, sentence in VERBS.items()]
    return (
        "eyehand: a robot sees camera images, reads a sentence, and acts.\n\n"
        "usage: eyehand VERB [--help]\n\n" + "\n".join(lines) + "\n"
    )
