"""The command line: ``eyehand VERB``; one file a verb, imported only when it is named."""

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise

VERBS = {
    "demo": "The whole way in 20 minutes: record, train, evaluate, report.",
    "reproduce": "Repeat a published result, such as mt50: fifty tasks, one policy.",
    "record": "Record demonstrations with the simulator's scripted experts.",
    "train": "Train a policy on a data set, with a recipe.",
    "eval": "Measure a policy in the simulator; write results.json and report.html.",
    "compare": "Train and measure variants of a recipe; test which differences are real.",
    "practise": "Learn by doing: a policy on a robot, or an algorithm in an environment.",
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
    """Run one verb and return the exit code.

    0 is done; 2 a mistake in what was given, or something that the machine refused, such as a full
    disk; 130 stopped. What else goes wrong is a mistake of ours and is raised.

    Args:
        arguments: The words after ``eyehand``; left out, those of the shell.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _answer(arguments)
        finally:
            sys.stdout.flush()  # here, where an error can still be said
    except KeyboardInterrupt:
        sys.stderr.write(f"\neyehand: {arguments[0]} was stopped; its finished work is kept.\n")
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        _close_output()
        return 0
    except Exception as error:
        sentence = _sentence(error, arguments)
        if sentence is None:
            raise
        return _refuse(sentence)


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        from eyehand import __version__

        sys.stdout.write(f"eyehand {__version__}\n")
        return 0
    for argument in arguments:
        if re.search("[\ud800-\udfff]", argument):  # how Python marks bytes that are no text
            return _refuse(f"{argument!r:.80} is not UTF-8, as names and sentences must be.")
    verb = "completion" if arguments[0] == COMPLETION else arguments[0]
    if verb not in (*VERBS, "completion"):
        from eyehand.functional.names import unknown_name

        return _refuse(unknown_name("verb", verb, VERBS))
    return import_module(f"eyehand.cli.{verb}").run(arguments[1:]) or 0


def _sentence(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return what to print for an error that is not a mistake of ours."""
    from eyehand.cli.faults import fault
    from eyehand.types import InputError

    if isinstance(error, InputError):
        return str(error)
    return fault(error, _place(arguments))


def _refuse(sentence: str) -> int:
    """Print why a command line cannot be done, and return the exit code."""
    sys.stderr.write(f"eyehand: {' '.join(sentence.splitlines())}\n")
    return 2


def _close_output() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(arguments: Sequence[str]) -> str:
    """Return where a command writes, as far as its words tell."""
    for word, after in pairwise([*arguments, ""]):
        if word == "--out" and after:
            return after
        if word.startswith("--out="):
            return word.removeprefix("--out=")
    return "the output"


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {sentence}" for verb, sentence in VERBS.items()]
    return (
        "eyehand: a robot sees camera images, reads a sentence, and acts.\n\n"
        "usage: eyehand VERB [--help]\n\n" + "\n".join(lines) + "\n"
    )
