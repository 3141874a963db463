"""A published result repeated: record, train, correct, evaluate with controls.

First demonstrations are recorded, with pushes from which the expert recovers, and a policy is
trained on them. Then come rounds of corrections (DAgger, Ross et al., 2011,
https://arxiv.org/abs/1011.0686): the policy acts up to a random moment, then the expert takes over.
After each round the policy trains further, on all recordings.
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


@dataclass(frozen=True)
class ReproduceConfig:
    """The stages of a result that is reproduced."""

    out: Path
    """Folder for data sets, checkpoints and evaluations."""
    suite: str
    """The benchmark."""
    tasks: str
    """Separated by commas: task names, groups or sets of tasks, or all."""
    cameras: tuple[str, ...]
    """The pictures that are recorded."""
    perturbation: float
    """Strength of the random pushes during the recording of demonstrations, in action units."""
    demonstrations: int
    """Recorded episodes per task."""
    corrections: int
    """Attempted corrections per task and round."""
    minutes: tuple[float, ...]
    """Minutes of training: first on the demonstrations, then after each round of corrections."""
    episodes: int = 20
    """Evaluated episodes per task."""
    probe_episodes: int = 5
    """Evaluated episodes per task of every control."""
    workers: int = 2
    """Simulator processes."""


@dataclass(frozen=True)
class Reproduction:
    """A result of `reproduce`: its stages, and the training run."""

    stages: ReproduceConfig
    run: TrainingRun


def reproduce(config: ReproduceConfig, run: TrainingRun) -> None:
    """Record, train, correct, evaluate and report; finished work is kept."""
    console = Console(highlight=False)
    data: list[Path] = []
    policy: Path | None = None
    for number, minutes in enumerate(config.minutes):
        kind = "demonstrations" if policy is None else f"corrections-{number}"
        console.rule(f"{kind}: record")
        data.append(config.out / kind)
        settings = RecordConfig(
            out=data[-1],
            suite=config.suite,
            tasks=config.tasks,
            episodes=config.demonstrations if policy is None else config.corrections,
            seed=1000 * number,
            workers=config.workers,
            perturbation=config.perturbation,
            cameras=config.cameras,
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
        console.rule(f"{name}: evaluate on new start states")
        evaluation = EvalConfig(
            out=config.out / f"evaluation-{name}",
            suite=config.suite,
            tasks=config.tasks,
            episodes=config.episodes,
            workers=config.workers,
            probe=probe,
            probe_episodes=config.probe_episodes,
        )
        measure(config.out / name, evaluation)
