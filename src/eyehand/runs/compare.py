"""Compare anything that a recipe can be told: one training per value, then tests on paired starts.

A comparison is one or more grids of fields and values; a field with a range is searched instead.
Every training is a trial of an Optuna study, and what it came to is kept there: several machines
that are given the same storage share the work, and a trial whose machine died is done again.
"""

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.markdown import Markdown

from eyehand.collection.record import RecordConfig, record
from eyehand.evaluation.comparison import (
    ComparedRun,
    differences_text,
    write_comparison,
)
from eyehand.evaluation.protocol import SEED_RANGES, EvalConfig
from eyehand.runs.axis import Axis, cells_of, parse_axis
from eyehand.runs.train import TrainingRun
from eyehand.runs.trial import (
    PARTS,
    Trial,
    acting_part,
    check_trial,
    override,
    run_trial,
    slug,
    training_part,
)
from eyehand.types import InputError

COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "heads": {
        "Heads": ("policy.head=mlp,mlp_history,lstm,gpt,diffusion,flow,bins,fast,vq",),
        "Actions in a chunk": (
            "policy.head=mlp",
            "policy.horizon=1,8,16,32",
            "execution.steps=1",
        ),
        "Executed actions": ("policy.head=mlp,flow", "execution.steps=1,4,8,16"),
        "Temporal ensembling": (
            "policy.head=mlp,flow",
            "execution.steps=1",
            "execution.temporal-ensembling=None,0.01",
        ),
        "Euler steps": ("policy.head=flow", "policy.head.steps=1,2,5,10"),
    }
}
"""Comparisons with a name: title of a table to its axes."""
SETTINGS = (
    "recipe", "suite", "tasks", "demonstrations", "minutes", "episodes", "seed", "prune",
)  # fmt: skip
"""Fields of the config that all trainings of a comparison share."""
HEARTBEAT, GRACE = 60, 180
"""Seconds between two signs of life of a running trial, and without one until it is given up."""


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, on what data, for how long."""

    out: Path
    """Folder for everything; a comparison that was interrupted goes on."""
    recipe: str = "bcz-metaworld"
    """The training run that is changed."""
    suite: str = "metaworld"
    """The benchmark."""
    tasks: str = "mt10"
    """all, mt10, tiers, or task names, separated by commas."""
    minutes: float = 20.0
    """Time of every training."""
    data: Path | None = None
    """A data set of these tasks; else demonstrations are recorded."""
    demonstrations: int = 50
    """Episodes per task, if they are recorded."""
    episodes: int = 20
    """Evaluated episodes per task."""
    seed: int = 1_000_000
    """First start state of every task; a search needs validation seeds, such as 10000."""
    workers: int = 2
    """Simulator processes."""
    trials: int | None = None
    """Trainings of a search; a comparison of values alone does every one of them."""
    prune: bool = False
    """End a training of a search whose loss is worse than the median of the others by then."""
    storage: str | None = None
    """Where the study is kept, such as postgresql://...; else a file in ``out``."""


def compare(axes: Sequence[str], config: CompareConfig, recipe: TrainingRun) -> None:
    """Train, evaluate and write ``comparison.md``, ``.json`` and ``.svg`` into ``config.out``.

    Args:
        axes: A name of `COMPARISONS`, or axes as `parse_axis` reads them.
        config: The rest.
        recipe: The training run that is changed, by its name ``config.recipe``.

    Raises:
        InputError: If a combination makes no run, or ``out`` holds another comparison.
    """
    if len(axes) == 1 and axes[0] in COMPARISONS:
        sections = {
            title: [parse_axis(one) for one in group]
            for title, group in COMPARISONS[axes[0]].items()
        }
    else:
        sections = {"Comparison": [parse_axis(one) for one in axes]}
    (_Search if config.trials else _Grid)(sections, config, recipe).go()


class _Comparison(ABC):
    """What a grid and a search share: data, study, one training, the report."""

    sampler: optuna.samplers.BaseSampler | None = None

    def __init__(
        self,
        sections: Mapping[str, Sequence[Axis]],
        config: CompareConfig,
        recipe: TrainingRun,
    ) -> None:
        training = replace(recipe.training, minutes=config.minutes, steps=None)
        self.base = Trial(replace(recipe, training=training))
        self.sections, self.config = sections, config
        self.console = Console(highlight=False)
        self.failed: list[tuple[Mapping[str, str], str]] = []
        self.evaluation = EvalConfig(
            out=config.out,
            suite=config.suite,
            tasks=config.tasks,
            episodes=config.episodes,
            seed=config.seed,
            workers=config.workers,
            films=0,
        )
        self.check()
        self.study = self._open_study()
        self.data = config.data or config.out / "data"
        if config.data is None:
            record(
                RecordConfig(
                    out=self.data,
                    tasks=config.tasks,
                    episodes=config.demonstrations,
                    workers=config.workers,
                    perturbation=0.4,
                    image_size=recipe.policy.image_size,
                )
            )

    @abstractmethod
    def check(self) -> None:
        """Refuse what cannot be compared, before anything is trained."""

    @abstractmethod
    def go(self) -> None:
        """Do every trial that is left, and report."""

    @abstractmethod
    def verdict(self, runs: Sequence[ComparedRun]) -> str:
        """Return what a table shows."""

    def run(
        self,
        folder: Path,
        training: Mapping[str, str],
        executions: Sequence[Mapping[str, str]],
        *,
        watch: Callable[[float, float], None] | None = None,
    ) -> list[ComparedRun]:
        """Train once, and evaluate every way of execution."""
        evaluation = replace(self.evaluation, out=folder)
        try:
            return run_trial(self.base, training, executions, self.data, evaluation, watch=watch)
        except InputError as error:  # such as a loss that is no number: the others go on
            self.failed.append((training, str(error)))
            raise optuna.TrialPruned from error

    def found(self) -> list[ComparedRun]:
        """Return what the study holds so far."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [_restore(run) for trial in trials for run in trial.user_attrs["runs"]]

    def finish(self) -> None:
        """Say which trainings failed, after all others are done.

        Raises:
            InputError: If any did.
        """
        if self.failed:
            said = " ".join(f"{slug('run', training)}: {text}" for training, text in self.failed)
            raise InputError(f"{len(self.failed)} of the trainings failed. {said}")

    def report(self, sections: Mapping[str, Sequence[ComparedRun]]) -> str:
        """Write the report, and return its text."""
        verdicts = {title: self.verdict(runs) for title, runs in sections.items() if runs}
        return write_comparison(
            self.config.out, sections, verdicts, title=_title(self.sections), lead=self._setting()
        )

    def _setting(self) -> str:
        config = self.config
        last = config.seed + config.episodes - 1
        kind = next(name for name, seeds in SEED_RANGES.items() if config.seed in seeds)
        return (
            f"Recipe `{config.recipe}`, {config.minutes:g} minutes of training each, training seed "
            f"{self.base.run.training.seed}, tasks `{config.tasks}`; {config.episodes} episodes a "
            f"task, start states {config.seed:,} to {last:,} ({kind}). Intervals are Wilson's, "
            "95 %; they speak of the luck of the start states, not of training again with another "
            "seed. A sample is what the head is shown: one frame, or a window of them. One robot's "
            "chunk is timed on one core."
        )

    def _open_study(self) -> optuna.Study:
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Optuna calls its heartbeat experimental; that is no news to the user.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        storage = optuna.storages.RDBStorage(
            config.storage or f"sqlite:///{config.out / 'study.db'}",
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
        )
        study = optuna.create_study(
            study_name=config.out.resolve().name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=self.sampler,
            pruner=optuna.pruners.MedianPruner() if config.prune else optuna.pruners.NopPruner(),
        )
        wanted = {name: getattr(config, name) for name in SETTINGS}
        held = study.user_attrs.setdefault("settings", wanted)
        for name, value in wanted.items():
            if held[name] != value:
                raise InputError(
                    f"{config.out} holds a comparison with {name} {held[name]}, not {value}: name "
                    "another folder with --out."
                )
        study.set_user_attr("settings", wanted)
        return study


class _Grid(_Comparison):
    """Every combination."""

    def check(self) -> None:
        """Refuse ranges, and combinations that make no run."""
        for axes in self.sections.values():
            for axis in axes:
                if axis.is_range:
                    raise InputError(
                        f"{axis.field} is given as a range, which is searched: say how many "
                        "trainings with --trials."
                    )
        self.cells = {title: cells_of(axes) for title, axes in self.sections.items()}
        for cells in self.cells.values():
            for cell in cells:
                check_trial(self.base, cell)

    def go(self) -> None:
        """Do every training that nobody has done or is doing."""
        while missing := self._missing():
            self.study.enqueue_trial({}, user_attrs={"training": missing[0]})
            self.study.optimize(self._objective, n_trials=1)
            self.report(self._sections())
        self.console.print(Markdown(self.report(self._sections())))
        if running := self.study.get_trials(states=(TrialState.RUNNING,)):
            self.console.print(
                f"{len(running)} trainings are under way elsewhere, or were killed less than "
                f"{GRACE} s ago: run the same command again for the whole table."
            )
        self.finish()

    def verdict(self, runs: Sequence[ComparedRun]) -> str:
        """Return which differences are real."""
        return differences_text(runs)

    @cache  # noqa: B019  a comparison lives as long as its command
    def _trial(self, *changes: tuple[str, str]) -> Trial:
        """Return what changes come to: a value that the recipe has anyway changes nothing."""
        return override(self.base, dict(changes))

    def _executions(self, training: Mapping[str, str]) -> list[dict[str, str]]:
        """Return every way of execution that some table asks of a training."""
        run = self._trial(*training.items()).run
        executions: dict[Trial, dict[str, str]] = {}
        for cells in self.cells.values():
            for cell in cells:
                if self._trial(*training_part(cell).items()).run == run:
                    executions.setdefault(self._trial(*cell.items()), acting_part(cell))
        return list(executions.values())

    def _missing(self) -> list[dict[str, str]]:
        """Return the trainings that are neither done in full nor under way."""
        optuna.storages.fail_stale_trials(self.study)
        held = {self._trial(*run.changes.items()) for run in self.found()}
        under_way = [
            trial.user_attrs["training"]
            for trial in self.study.get_trials(states=(TrialState.RUNNING,))
        ]
        failed = [training for training, _ in self.failed]
        tried = {self._trial(*training.items()).run for training in [*under_way, *failed]}
        missing: dict[TrainingRun, dict[str, str]] = {}
        for cells in self.cells.values():
            for cell in cells:
                training = training_part(cell)
                run = self._trial(*training.items()).run
                if self._trial(*cell.items()) not in held and run not in tried:
                    missing.setdefault(run, training)
        return list(missing.values())

    def _objective(self, trial: optuna.Trial) -> float:
        training = trial.user_attrs["training"]
        under_way = self.study.get_trials(states=(TrialState.RUNNING,))
        if any(
            one.number < trial.number and one.user_attrs["training"] == training
            for one in under_way
        ):
            raise optuna.TrialPruned  # two machines saw at once that it was missing
        executions = self._executions(training)
        runs = self.run(self.config.out / "runs" / slug("run", training), training, executions)
        trial.set_user_attr("runs", [asdict(run) for run in runs])
        return runs[0].rate.success_rate

    def _sections(self) -> dict[str, list[ComparedRun]]:
        """Return what is done so far, table by table."""
        held = {self._trial(*run.changes.items()): run for run in self.found()}
        return {
            title: [
                replace(held[trial], changes=cell)
                for cell in cells
                if (trial := self._trial(*cell.items())) in held
            ]
            for title, cells in self.cells.items()
        }


class _Search(_Comparison):
    """As many trainings as wanted, where the sampler thinks it worth while."""

    def __init__(
        self,
        sections: Mapping[str, Sequence[Axis]],
        config: CompareConfig,
        recipe: TrainingRun,
    ) -> None:
        self.axes = [axis for axes in sections.values() for axis in axes]
        self.sampler = optuna.samplers.TPESampler(seed=0)
        super().__init__(sections, config, recipe)

    def check(self) -> None:
        """Refuse to tune on the start states of evaluation, or to compare losses of heads."""
        if self.config.seed not in SEED_RANGES["validation"]:
            raise InputError(
                f"a search chooses by what it measures: --seed {self.config.seed} is not for that, "
                "take 10000 to 19999, and measure the best one elsewhere once."
            )
        for axis in self.axes:
            if self.config.prune and axis.field in PARTS:
                raise InputError(
                    "--prune compares training losses, and those of different parts "
                    f"({axis.field}) cannot be compared."
                )

    def go(self) -> None:
        """Do trials until there are enough of them, on all machines together."""
        trials = self.config.trials or 0
        while self._begun() < trials:
            self.study.optimize(self._objective, n_trials=1)
            self.report({"Search": self.found()})
        self.console.print(Markdown(self.report({"Search": self.found()})))
        self.finish()

    def verdict(self, runs: Sequence[ComparedRun]) -> str:
        """Return how many trainings there were; the best of many is too good by luck."""
        pruned = len(self.study.get_trials(states=(TrialState.PRUNED,)))
        return (
            f"{len(runs)} trainings to the end, {pruned} ended early. The best of many is partly "
            "lucky: its figure is for choosing; measure it once on evaluation seeds."
        )

    def _begun(self) -> int:
        optuna.storages.fail_stale_trials(self.study)
        states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        return len(self.study.get_trials(states=states))

    def _objective(self, trial: optuna.Trial) -> float:
        changes = {axis.field: axis.suggest(trial) for axis in self.axes}
        percent = -1

        def watch(progress: float, loss: float) -> None:
            nonlocal percent
            if int(100 * progress) > percent:
                percent = int(100 * progress)
                trial.report(-loss, percent)
                if trial.should_prune():
                    raise optuna.TrialPruned

        runs = self.run(
            self.config.out / "runs" / f"trial-{trial.number}",
            training_part(changes),
            [acting_part(changes)],
            watch=watch if self.config.prune else None,
        )
        trial.set_user_attr("runs", [asdict(run) for run in runs])
        return runs[0].rate.success_rate


def _title(sections: Mapping[str, Sequence[Axis]]) -> str:
    fields = dict.fromkeys(axis.field for axes in sections.values() for axis in axes)
    return f"Comparison of {', '.join(fields)}"


def _restore(description: Mapping[str, Any]) -> ComparedRun:
    """Return the run that a study kept as JSON, which has lists for tuples."""
    episodes = [tuple(episode) for episode in description["episodes"]]
    return ComparedRun(**{**description, "episodes": episodes})
