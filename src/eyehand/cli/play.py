"""Film one episode of a policy that is told a sentence.

Run:
    eyehand play outputs/demo/policy --task drawer-open --instruction "Pull the drawer towards you"
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from eyehand.envs.suite import find_task
from eyehand.evaluation.film import PlayConfig, play
from eyehand.evaluation.rerun_recording import check_recording, record_episodes
from eyehand.policies.registry import find_checkpoint, load_policy


@dataclass(frozen=True)
class PlayArguments:
    """One film."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a trained policy, or the name of a released one."""
    config: Annotated[PlayConfig, tyro.conf.arg(name="")]
    """The episode and the film."""
    rerun: Path | None = None
    """Also record the episode for the rerun viewer, into this .rrd file."""


def run(arguments: list[str]) -> None:
    """Read the arguments, film the episode, print its result."""
    wanted = tyro.cli(PlayArguments, args=arguments, prog="eyehand play", description=__doc__)
    if wanted.rerun is not None:
        check_recording(wanted.rerun)
    policy = load_policy(find_checkpoint(wanted.checkpoint))
    outcome = play(policy, wanted.config, cameras=policy.cameras)
    if wanted.rerun is not None:
        record_episodes(
            wanted.rerun,
            find_task(wanted.config.task, wanted.config.suite)[0],
            [(outcome.start, outcome.actions)],
            cameras=policy.cameras,
            look=policy.look,
            every=wanted.config.execution.steps,
        )
    ending = "success" if outcome.success else "no success"
    Console().print(
        f"{outcome.start.task}, told {outcome.start.instruction!r}: "
        f"{ending} after {outcome.steps} steps. Film: {wanted.config.out}"
    )
