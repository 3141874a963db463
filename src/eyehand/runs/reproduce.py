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

from eyehand.collection.record import MOST_EPISODES, RecordConfig, record
from eyehand.evaluation.protocol import EvalConfig
from eyehand.files import check_place
from eyehand.policies.registry import load_policy
from eyehand.runs.measure import measure
from eyehand.runs.train import TrainingRun, run_training
from eyehand.training.config import TrainConfig
from eyehand.types import InputError, check_ranges


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
    seed: int = 2_000_000
    """Seed of the first of them."""
    probe_episodes: int = 5
    """Evaluated episodes per task of every control."""
    workers: int = 2
    """Simulator processes."""
    training_seed: int = 0
    """Seed of the trainings: the first weights, the order of frames and what is drawn. Another one,
    with the same demonstrations in ``out``, shows what is the luck of training."""

    def __post_init__(self) -> None:
        """Check everything before the first stage: a later one begins hours after."""
        if not self.minutes:
            raise InputError("--minutes must name the minutes of one training or more; got none.")
        check_ranges(self, demonstrations=(1, MOST_EPISODES), corrections=(1, MOST_EPISODES))
        for number, minutes in enumerate(self.minutes):
            TrainConfig(minutes=minutes, seed=self.training_seed)
            self.recording(number, policy=Path() if number else None)
        self.evaluation("policy-0", probe=True)

    def recording(self, number: int, *, policy: Path | None, image_size: int = 96) -> RecordConfig:
        """Return the recording before training ``number``: of demonstrations, or corrections."""
        return RecordConfig(
            out=self.out / (f"corrections-{number}" if number else "demonstrations"),
            suite=self.suite,
            tasks=self.tasks,
            episodes=self.corrections if number else self.demonstrations,
            seed=1000 * number,
            workers=self.workers,
            perturbation=self.perturbation,
            cameras=self.cameras,
            image_size=image_size,
            policy=policy,
        )

    def evaluation(self, name: str, *, probe: bool) -> EvalConfig:
        """Return the evaluation of the checkpoint called ``name``, with or without controls."""
        return EvalConfig(
            out=self.out / f"evaluation-{name}",
            suite=self.suite,
            tasks=self.tasks,
            episodes=self.episodes,
            seed=self.seed,
            workers=self.workers,
            probe=probe,
            probe_episodes=self.probe_episodes,
        )


@dataclass(frozen=True)
class Reproduction:
    """A result of `reproduce`: its stages, and the training run."""

    stages: ReproduceConfig
    run: TrainingRun


def reproduce(config: ReproduceConfig, run: TrainingRun) -> None:
    """Record, train, correct, evaluate and report; finished work is kept."""
    check_place(config.out, folder=True)
    config.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    data: list[Path] = []
    policy: Path | None = None
    for number, minutes in enumerate(config.minutes):
        settings = config.recording(number, policy=policy, image_size=run.policy.image_size)
        kind = settings.out.name
        console.rule(f"{kind}: record")
        data.append(settings.out)
        record(settings, partial(load_policy, policy) if policy else None)
        console.rule(f"{kind}: train")
        trained = config.out / f"policy-{number}"
        training = replace(run.training, minutes=minutes, steps=None, seed=config.training_seed)
        run_training(replace(run, training=training), data, trained, resume=True, initial=policy)
        policy = trained
    for name, probe in ({"policy-0": False} | {f"policy-{len(config.minutes) - 1}": True}).items():
        console.rule(f"{name}: evaluate on new start states")
        measure(config.out / name, config.evaluation(name, probe=probe))
