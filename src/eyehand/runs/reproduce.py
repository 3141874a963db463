"""One policy for all fifty tasks of Meta-World, from nothing.

First 50 demonstrations a task, recorded with pushes that the expert makes good. Then rounds of
corrections (DAgger, Ross et al., 2011, https://arxiv.org/abs/1011.0686): the policy drives to a
random moment, the expert takes over. After each round it trains on, on all that there is.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from eyehand.collection.record import RecordConfig, record
from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.registry import load_policy
from eyehand.runs.measure import measure
from eyehand.runs.train import TrainingRun, run_training

CAMERA = "work_area"
PERTURBATION = 0.4


@dataclass(frozen=True)
class Mt50Config:
    """Settings for under four hours on two cores."""

    out: Path = Path("outputs/mt50")
    """Folder for data sets, checkpoints and evaluations."""
    tasks: str = "all"
    """all, tiers, or task names, separated by commas."""
    demonstrations: int = 50
    """Recorded episodes per task."""
    corrections: int = 30
    """Attempted corrections per task and round."""
    minutes: tuple[float, ...] = (40.0, 25.0, 25.0, 55.0)
    """Time for training: on the demonstrations alone, then after each round of corrections."""
    episodes: int = 20
    """Evaluated episodes per task."""
    probe_episodes: int = 5
    """Evaluated episodes per task of every control."""
    workers: int = 2
    """Simulator processes."""


def mt50(config: Mt50Config, run: TrainingRun) -> None:
    """Record, train, correct, evaluate and report; what is done already is not done again."""
    console = Console(highlight=False)
    data: list[Path] = []
    policy: Path | None = None
    for number, minutes in enumerate(config.minutes):
        kind = "demonstrations" if policy is None else f"corrections-{number}"
        console.rule(f"{kind}: record")
        data.append(config.out / kind)
        settings = RecordConfig(
            out=data[-1],
            tasks=config.tasks,
            episodes=config.demonstrations if policy is None else config.corrections,
            seed=1000 * number,
            workers=config.workers,
            perturbation=PERTURBATION,
            camera=CAMERA,
            image_size=run.policy.image_size,
            policy=policy,
        )
        record(settings, partial(load_policy, policy) if policy else None)
        console.rule(f"{kind}: train")
        trained = config.out / f"policy-{number}"
        training = replace(run.training, minutes=minutes, steps=None)
        run_training(replace(run, training=training), data, trained, resume=True, initial=policy)
        policy = trained
    for name, probe in (("policy-0", False), (f"policy-{len(config.minutes) - 1}", True)):
        console.rule(f"{name}: evaluate on start states it never saw")
        evaluation = EvalConfig(
            out=config.out / f"evaluation-{name}",
            tasks=config.tasks,
            episodes=config.episodes,
            workers=config.workers,
            probe=probe,
            probe_episodes=config.probe_episodes,
        )
        measure(config.out / name, evaluation)
