"""The command line of both training scripts; both Pythons import it, so it needs only torch."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Verb = Callable[[argparse.Namespace], dict[str, Any]]


def run_command(description: str, names: Sequence[str], *, train: Verb, speed: Verb) -> None:
    """Train or measure; write what was found as JSON.

    Args:
        description: What the script does, in one line.
        names: Policies that it knows.
        train: Trains one and returns what is said of it.
        speed: Measures one and returns its speeds.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("verb", choices=["train", "speed"])
    parser.add_argument("name", choices=names)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", required=True, help="task names, separated by commas")
    parser.add_argument("--cores", type=int, required=True, help="threads, and loading processes")
    parser.add_argument("--out", type=Path, required=True, help="folder, or file of a speed")
    parser.add_argument("--minutes", type=float, help="wall time of the steps")
    parser.add_argument("--seconds", type=float, help="of each measurement of a speed")
    parser.add_argument("--denoising-steps", type=int, help="of diffusion, by DDIM")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    if options.verb == "train":
        found, file = train(options), options.out / "trained.json"
    else:
        found, file = speed(options), options.out
    file.write_text(json.dumps(found, indent=1))
