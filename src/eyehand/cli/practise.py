"""Learn by doing: an algorithm in a Gymnasium environment.

Run:
    eyehand practise ppo --environment CartPole-v1 --out outputs/cart-pole
    eyehand practise sac --environment HalfCheetah-v5 --steps 300000 --out outputs/half-cheetah
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from eyehand.rl.registry import ALGORITHMS, find_algorithm
from eyehand.runs.environment_run import EnvironmentRun, learn_environment
from eyehand.types import InputError


@dataclass(frozen=True, kw_only=True)
class PractiseArguments:
    """One run."""

    run: Annotated[EnvironmentRun, tyro.conf.arg(name="")]
    """What is learnt, and how long."""
    out: Path
    """Folder for checkpoints, metrics, the resolved config and results."""
    threads: int | None = None
    """Threads of torch; left out, one."""
    resume: bool = False
    """Continue from the last checkpoint in the folder."""


def run(arguments: list[str]) -> None:
    """Read the arguments, learn, measure."""
    if not arguments or arguments[0].startswith("-"):
        if not {"-h", "--help"} & set(arguments):
            raise InputError(f"say what learns: one of {', '.join(ALGORITHMS)}.")
        name, rest = "ppo", arguments
    else:
        name, *rest = arguments
    _, config_type = find_algorithm(name)

    def start(wanted: Annotated[PractiseArguments, tyro.conf.arg(name="")], algorithm: Any) -> None:
        """Learn and measure."""
        found = learn_environment(
            name,
            wanted.run,
            algorithm,
            wanted.out,
            resume=wanted.resume,
            threads=wanted.threads,
        )
        low, high = found["interval"]
        Console(highlight=False, soft_wrap=True).print(
            f"{name} in {wanted.run.environment}: a mean return of {found['mean_return']:,.1f} "
            f"(95 % interval {low:,.1f} to {high:,.1f}, {wanted.run.episodes} episodes) after "
            f"{found['environment_steps']:,} steps in {found['seconds'] / 60:.1f} minutes; "
            f"{wanted.out / 'results.json'}"
        )

    start.__annotations__["algorithm"] = config_type
    tyro.cli(start, args=rest, prog=f"eyehand practise {name}", description=__doc__)
