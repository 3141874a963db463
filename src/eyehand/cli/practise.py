"""Learn by doing: a policy on a robot, or an algorithm in a Gymnasium environment.

Run:
    eyehand practise mt50 --tasks disassemble,soccer --minutes 60 --out outputs/practised
    eyehand practise CHECKPOINT --method ppo --tasks all --minutes 180 --out outputs/practised
    eyehand practise CHECKPOINT --method residual_sac --tasks soccer --out outputs/corrected
    eyehand practise ppo --environment CartPole-v1 --out outputs/cart-pole
    eyehand practise sac --environment HalfCheetah-v5 --steps 300000 --out outputs/half-cheetah
    eyehand practise ppo --environment rough-ground --steps 10000000 --out outputs/walker

A policy is a folder of a checkpoint or the name of a released one; ways to practise are grpo, ppo,
dpo and residual_sac. Algorithms in an environment are a2c, ddpg, dqn, ppo, reinforce, sac and td3.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from eyehand.functional.names import unknown_name
from eyehand.policies.registry import find_checkpoint
from eyehand.rl.registry import ALGORITHMS, find_algorithm
from eyehand.runs.environment_run import WORLDS, EnvironmentRun, learn_environment
from eyehand.runs.practise import METHODS, PractiseConfig, practise
from eyehand.types import InputError


@dataclass(frozen=True, kw_only=True)
class EnvironmentArguments:
    """One run in an environment."""

    run: Annotated[EnvironmentRun, tyro.conf.arg(name="")]
    """What is learnt, and how long."""
    out: Path
    """Folder for checkpoints, metrics, the resolved config and results."""
    threads: int | None = None
    """Threads of torch; left out, one."""
    resume: bool = False
    """Continue from the last checkpoint in the folder."""


@dataclass(frozen=True)
class NoWorld:
    """A Gymnasium environment has no fields."""


@dataclass(frozen=True, kw_only=True)
class PolicyArguments:
    """One practice of a policy."""

    run: Annotated[PractiseConfig, tyro.conf.arg(name="")]
    """What is practised, and how long."""
    method: str = "grpo"
    """How it learns: grpo, ppo, dpo or residual_sac."""
    resume: bool = False
    """Continue from the last checkpoint in the folder."""


def run(arguments: list[str]) -> None:
    """Read the arguments, practise, say what came of it."""
    if not arguments or arguments[0].startswith("-"):
        if not {"-h", "--help"} & set(arguments):
            raise InputError(
                f"say what practises: a checkpoint, or one of {', '.join(ALGORITHMS)}."
            )
        _practise_policy(Path(), arguments)
    elif arguments[0] in ALGORITHMS:
        _learn_in_environment(arguments[0], arguments[1:])
    else:
        _practise_policy(find_checkpoint(Path(arguments[0])), arguments[1:])


def _practise_policy(checkpoint: Path, rest: Sequence[str]) -> None:
    method = _value_of("--method", rest) or "grpo"
    if method not in METHODS:
        raise InputError(unknown_name("way to practise", method, METHODS))

    def start(wanted: Annotated[PolicyArguments, tyro.conf.arg(name="")], settings: Any) -> None:
        """Practise."""
        done = practise(checkpoint, wanted.run, settings, method=method, resume=wanted.resume)
        run = wanted.run
        words = ["eyehand", "eval", str(run.out), "--suite", run.suite, "--tasks", run.tasks]
        words += ["--execution.steps", str(run.execution.steps), "--out", "FOLDER"]
        Console(highlight=False, soft_wrap=True).print(
            f"{done.steps} steps in {done.seconds / 60:.1f} minutes; measure it on new start "
            f"states: {shlex.join(words)}"
        )

    start.__annotations__["settings"] = METHODS[method][1]
    tyro.cli(start, args=rest, prog="eyehand practise CHECKPOINT", description=__doc__)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return what follows a flag, before all flags are read; the last one counts."""
    found = None
    for number, word in enumerate(words):
        if word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
        if word == flag and number + 1 < len(words):
            found = words[number + 1]
    return found


def _learn_in_environment(name: str, rest: Sequence[str]) -> None:
    _, config_type = find_algorithm(name)
    _, world_type = WORLDS.get(_value_of("--environment", rest) or "", (None, NoWorld))

    def start(
        wanted: Annotated[EnvironmentArguments, tyro.conf.arg(name="")],
        algorithm: Any,
        world: Any,
    ) -> None:
        """Learn and measure."""
        found = learn_environment(
            name,
            wanted.run,
            algorithm,
            wanted.out,
            world=None if isinstance(world, NoWorld) else world,
            resume=wanted.resume,
            threads=wanted.threads,
        )
        low, high = found["return"]["interval"]
        Console(highlight=False, soft_wrap=True).print(
            f"{name} in {wanted.run.environment}: a mean return of {found['return']['mean']:,.1f} "
            f"(95 % interval {low:,.1f} to {high:,.1f}, {wanted.run.episodes} episodes) after "
            f"{found['environment_steps']:,} steps in {found['seconds'] / 60:.1f} minutes; "
            f"{wanted.out / 'results.json'}"
        )

    start.__annotations__ |= {"algorithm": config_type, "world": world_type}
    tyro.cli(start, args=rest, prog=f"eyehand practise {name}", description=__doc__)
