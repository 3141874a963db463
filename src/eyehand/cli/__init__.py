"""The command line: ``eyehand VERB``; one file a verb, imported only when it is named."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "demo": "The whole way in 20 minutes: record, train, evaluate, report.",
    "reproduce": "Repeat a published result, such as mt50: fifty tasks, one policy.",
    "record": "Record demonstrations with the simulator's scripted experts.",
    "train": "Train a policy on a data set, with a recipe.",
    "eval": "Measure a policy in the simulator; write results.json and report.html.",
    "compare": "Train and measure variants of a recipe; test which differences are real.",
    "look": "Show a data set as a page with films, curves and statistics.",
    "classify": "Train a vision network to classify pictures, and measure it.",
    "segment": "Train a network to say what every pixel of a robot scene shows.",
    "inspect": "Show what the layers of a network see, cost and waste.",
    "play": "Film one episode of a policy that is told a sentence.",
    "live": "Watch a robot in the browser, tell it what to do, lead its hand.",
    "serve": "Serve a policy over the network, in openpi's protocol.",
    "new": "Write a new policy, head, suite or update, and its test, to begin with.",
    "doctor": "Check that this machine can run eyehand, and say how to fix what fails.",
}
"""Every verb and what it does; verb ``x`` is the module ``eyehand.cli.x``."""
COMPLETION = "--tyro-print-completion"
"""Prints a script for tab completion; every verb has this flag from tyro."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 2 a mistake in what was given, 130 stopped.

    Args:
        arguments: The words after ``eyehand``; left out, those of the shell.
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
    from eyehand.types import InputError  # imports torch, which --help should not wait for

    try:
        return import_module(f"eyehand.cli.{verb}").run(arguments) or 0
    except InputError as error:
        sys.stderr.write(f"eyehand: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"\neyehand: {verb} was stopped; its finished work is kept.\n")
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {sentence}" for verb, sentence in VERBS.items()]
    return (
        "eyehand: a robot sees camera images, reads a sentence, and acts.\n\n"
        "usage: eyehand VERB [--help]\n\n" + "\n".join(lines) + "\n"
    )
