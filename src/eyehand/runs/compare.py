"""Compare values of any field of a recipe: train once per value, test on the same start states.

A comparison is one or more grids of fields and values. A field with a range is searched instead.
Every training is a trial of an Optuna study, which keeps its result. Several machines that are
given the same storage share the work, and a training whose machine died is done again.

Optuna's GridSampler, BruteForceSampler and ``enqueue_trial(skip_if_exists=True)`` are not used for
grids: in Optuna 5.0 they count a failed trial as done, they allow no new values in a study, and two
machines can take the same point at once.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.markdown import Markdown
from sqlalchemy.pool import NullPool

from eyehand.collection.record import MOST_EPISODES, RecordConfig, record
from eyehand.data.lerobot import Dataset
from eyehand.envs.suite import find_suite
from eyehand.evaluation.comparison import ComparedRun, differences_text, write_comparison
from eyehand.evaluation.protocol import SEED_RANGES, EvalConfig
from eyehand.files import check_place
from eyehand.runs.axis import Axis, cells_of, parse_axis
from eyehand.runs.comparisons import CHAINS, COMPARISONS
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
from eyehand.types import InputError, check_ranges

SETTINGS = (
    "recipe", "suite", "tasks", "demonstrations", "minutes", "episodes", "seed", "chains", "prune",
)  # fmt: skip
"""Fields of the config that all trainings of a comparison share."""
Changes = Mapping[str, str]
"""Values by dotted field."""
MOST_TRIALS = 1_000_000
"""Of a search."""
HEARTBEAT, GRACE = 60, 180
"""Seconds between two signs of life of a running trial; seconds of silence until it is dead."""


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, on what data, for how long."""

    out: Path
    """Folder for everything; the same command continues a comparison that was interrupted."""
    recipe: str = "bcz-metaworld"
    """The training run that is changed."""
    suite: str = "metaworld"
    """The benchmark."""
    tasks: str = "mt10"
    """all, mt10, tiers, or task names, separated by commas."""
    minutes: float = 20.0
    """Time of every training."""
    data: Path | None = None
    """A data set of these tasks; without one, demonstrations are recorded."""
    demonstrations: int = 50
    """Episodes per task, where they are recorded."""
    episodes: int = 20
    """Evaluated episodes per task."""
    seed: int = 1_000_000
    """First start state of every task; a search needs validation seeds, such as 10000."""
    chains: int = 0
    """Compare the average length of so many chains, as of `eyehand eval`, instead of the success in
    single tasks, of which one episode each is run before."""
    workers: int = 2
    """Simulator processes."""
    ray: str | None = None
    """Run the simulators in a Ray cluster: auto takes that of RAY_ADDRESS or starts one on this
    machine, HOST:PORT names one. Trainings stay in this process; more machines train with
    ``storage`` (docs/ray.md)."""
    trials: int | None = None
    """Trainings of a search; without it, every combination of the given values is trained."""
    prune: bool = False
    """End a training of a search whose loss is worse than the median of the others by then."""
    storage: str | None = None
    """Database of the study, such as postgresql://...; without it, a file in ``out``."""

    def __post_init__(self) -> None:
        """Check the numbers that no other config checks before work begins."""
        check_ranges(self, demonstrations=(1, MOST_EPISODES), trials=(1, MOST_TRIALS))


def compare(axes: Sequence[str], config: CompareConfig, recipe: TrainingRun) -> None:
    """Train, evaluate and write ``comparison.md``, ``.json`` and ``.svg`` into ``config.out``.

    Each of ``axes`` is read by `parse_axis`; they may also be a name of `COMPARISONS`.

    Raises:
        InputError: If a combination makes no run, if ``out`` holds another comparison, or at the
            end, if a training failed.
    """
    groups = COMPARISONS.get(" ".join(axes), {"Comparison": tuple(axes)})
    if axes == ("chains",) and not config.chains:
        raise InputError("compare chains needs --chains, how many, and a --suite that has them.")
    tables = {title: [parse_axis(one) for one in group] for title, group in groups.items()}
    training = replace(recipe.training, minutes=config.minutes, steps=None)
    base = Trial(replace(recipe, training=training))
    evaluation = EvalConfig(
        out=config.out,
        suite=config.suite,
        tasks=config.tasks,
        episodes=1 if config.chains else config.episodes,
        seed=config.seed,
        chains=config.chains,
        workers=config.workers,
        ray=config.ray,
        films=0,
    )
    every = [*chain(*tables.values())]
    trial_of, cells = _kept(check_trial, base), {}
    if not every:
        raise InputError(
            "say what is compared: field=value,value, as policy.head=mlp,flow, or one of "
            f"{', '.join(COMPARISONS)}."
        )
    if config.trials:
        _check_search(every, config)
    else:
        cells = _checked_cells(tables, trial_of)
    if config.data is not None:
        Dataset(config.data)  # a folder that is none is found before the study is made
    work = _Work(config, base, evaluation, every, _open_study(config))
    if config.data is None:
        record(
            RecordConfig(
                out=work.data,
                suite=config.suite,
                tasks=config.tasks,
                episodes=config.demonstrations,
                workers=config.workers,
                ray=config.ray,
                perturbation=0.4,
                cameras=recipe.policy.cameras,
                image_size=recipe.policy.image_size,
            )
        )
    report = _search(work) if config.trials else _train_cells(work, cells, trial_of)
    console = Console(highlight=False)
    console.print(Markdown(report))
    running = len(work.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    if running:
        console.print(
            f"Trainings still running elsewhere, or killed less than {GRACE} s ago: {running}. Run "
            "the same command again for the complete table."
        )
    if work.failed:
        said = " ".join(f"{slug('run', changes)}: {text}" for changes, text in work.failed)
        raise InputError(f"{len(work.failed)} of the trainings failed. {said}")


@dataclass(frozen=True)
class _Work:
    """What all trainings of a comparison share."""

    config: CompareConfig
    base: Trial
    evaluation: EvalConfig
    axes: Sequence[Axis]
    study: optuna.Study
    failed: list[tuple[Changes, str]] = field(default_factory=list)
    """Changes and error of every training that failed in this process."""

    @property
    def data(self) -> Path:
        """Folder of the demonstrations."""
        return self.config.data or self.config.out / "data"

    def train(
        self,
        trial: optuna.Trial,
        name: str,
        training: Changes,
        executions: Sequence[Changes],
        *,
        watch: Callable[[float, float], None] | None = None,
    ) -> float:
        """Train once, evaluate every way of execution, and return the first success rate.

        Raises:
            optuna.TrialPruned: If the training failed; the others go on.
        """
        evaluation = replace(self.evaluation, out=self.config.out / "runs" / name)
        try:
            runs = run_trial(self.base, training, executions, self.data, evaluation, watch=watch)
        except InputError as error:  # such as a loss that is not a number
            self.failed.append((training, str(error)))
            raise optuna.TrialPruned from error
        trial.set_user_attr("runs", [asdict(run) for run in runs])
        return runs[0].rate.success_rate

    def found(self) -> list[ComparedRun]:
        """Return what the study holds so far."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [_restore(run) for trial in trials for run in trial.user_attrs["runs"]]

    def report(
        self,
        tables: Mapping[str, Sequence[ComparedRun]],
        verdict: Callable[[Sequence[ComparedRun]], str],
    ) -> str:
        """Write the report, and return its text."""
        config = self.config
        last = config.seed + config.episodes - 1
        kind = next(name for name, seeds in SEED_RANGES.items() if config.seed in seeds)
        return write_comparison(
            config.out,
            tables,
            {title: verdict(runs) for title, runs in tables.items() if runs},
            title=f"Comparison of {', '.join(dict.fromkeys(axis.field for axis in self.axes))}",
            lead=f"Recipe `{config.recipe}`, {config.minutes:g} minutes of training each, training "
            f"seed {self.base.run.training.seed}, tasks `{config.tasks}`; {config.episodes} "
            f"episodes a task, start states {config.seed:,} to {last:,} ({kind}). Intervals "
            "are 95 % and respect which episodes share a seed. They cover the chance in the start "
            "states; training again with another seed can move the rates by more. A sample is what "
            "the head is shown: one frame, or a window of them. A chunk is timed for one robot on "
            "one core." + (CHAINS.format(config.chains) if config.chains else ""),
        )


def _kept(change: Callable[[Trial, Changes], Trial], base: Trial) -> Callable[[Changes], Trial]:
    """Return ``change`` of ``base``, with its answers kept: it parses a command line each time."""

    @cache
    def answer(*changes: tuple[str, str]) -> Trial:
        return change(base, dict(changes))

    return lambda changes: answer(*sorted(changes.items()))


def _checked_cells(
    tables: Mapping[str, Sequence[Axis]], trial_of: Callable[[Changes], Trial]
) -> dict[str, list[dict[str, str]]]:
    """Return every combination of the values, by table.

    Raises:
        InputError: If there is a range, or a combination makes no run.
    """
    for axis in chain(*tables.values()):
        if axis.is_range:
            raise InputError(
                f"{axis.field} is given as a range, which is searched: say how many trainings with "
                "--trials."
            )
    cells = {title: cells_of(axes) for title, axes in tables.items()}
    for cell in chain(*cells.values()):
        trial_of(cell)
    return cells


def _train_cells(
    work: _Work,
    tables: Mapping[str, Sequence[dict[str, str]]],
    trial_of: Callable[[Changes], Trial],
) -> str:
    """Do every training that no machine has done or is doing, and return the report.

    Cells that need the same training share it: it is measured once for each way of execution.
    """
    training_of = _kept(override, work.base)

    def run_of(cell: Changes) -> TrainingRun:
        return training_of(training_part(cell)).run

    # A value that the recipe has anyway changes nothing, so cells are compared by what they make.
    jobs: dict[TrainingRun, dict[Trial, dict[str, str]]] = {}
    for cell in chain(*tables.values()):
        jobs.setdefault(run_of(cell), {}).setdefault(trial_of(cell), cell)

    def missing(before: int = sys.maxsize) -> list[TrainingRun]:
        """Return the trainings that are not done or running in trials of lower number."""
        optuna.storages.fail_stale_trials(work.study)
        held, taken = set(), {run_of(training) for training, _ in work.failed}
        for one in work.study.get_trials(deepcopy=False):
            asked = one.user_attrs.get("training")
            if one.state == TrialState.COMPLETE:
                held |= {trial_of(run["changes"]) for run in one.user_attrs["runs"]}
            elif one.state == TrialState.RUNNING and one.number < before and asked is not None:
                taken.add(run_of(asked))
        return [run for run, job in jobs.items() if run not in taken and not job.keys() <= held]

    def objective(trial: optuna.Trial) -> float:
        # Two machines can both have seen that a training is missing: the lower number does it. The
        # other one prunes its trial, which asks for nothing where the first took it from the queue.
        asked = trial.user_attrs.get("training")
        if asked is None or run_of(asked) not in missing(before=trial.number):
            raise optuna.TrialPruned
        cells = list(jobs[run_of(asked)].values())
        training = training_part(cells[0])
        return work.train(trial, slug("run", training), training, [*map(acting_part, cells)])

    def report() -> str:
        held = {trial_of(run.changes): run for run in work.found()}
        done = {
            title: [replace(held[key], changes=c) for c in cells if (key := trial_of(c)) in held]
            for title, cells in tables.items()
        }
        return work.report(done, differences_text)

    text = report()
    while runs := missing():
        training = training_part(next(iter(jobs[runs[0]].values())))
        work.study.enqueue_trial({}, user_attrs={"training": training})
        work.study.optimize(objective, n_trials=1)
        text = report()
    return text


def _check_search(axes: Sequence[Axis], config: CompareConfig) -> None:
    """Raise an InputError for start states of evaluation, or losses that cannot be compared."""
    if config.seed not in SEED_RANGES["validation"]:
        raise InputError(
            f"a search chooses by what it measures, and --seed {config.seed} is not meant for "
            "that: take 10000 to 19999, and measure the best one once on evaluation seeds."
        )
    parts = [axis.field for axis in axes if axis.field in PARTS]
    if config.prune and parts:
        raise InputError(
            f"--prune compares training losses, and those of different parts ({parts[0]}) cannot "
            "be compared."
        )


def _search(work: _Work) -> str:
    """Let the sampler choose trainings until all machines together began enough of them."""
    study, config = work.study, work.config

    def objective(trial: optuna.Trial) -> float:
        changes = {axis.field: axis.suggest(trial) for axis in work.axes}
        percent = -1

        def watch(progress: float, loss: float) -> None:
            nonlocal percent
            if int(100 * progress) > percent:
                percent = int(100 * progress)
                trial.report(-loss, percent)
                if trial.should_prune():
                    raise optuna.TrialPruned

        training, executions = training_part(changes), [acting_part(changes)]
        name = f"trial-{trial.number}"
        return work.train(trial, name, training, executions, watch=watch if config.prune else None)

    def verdict(runs: Sequence[ComparedRun]) -> str:
        ended = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        return (
            f"{len(runs)} trainings were finished, {ended} were ended early. The best of many owes "
            "part of its rate to chance: choose by these figures, then measure the chosen one once "
            "on evaluation seeds."
        )

    def report() -> str:
        return work.report({"Search": work.found()}, verdict)

    begun = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
    optuna.storages.fail_stale_trials(study)
    text = report()
    while len(study.get_trials(deepcopy=False, states=begun)) < (config.trials or 0):
        study.optimize(objective, n_trials=1)
        text = report()
    return text


def _open_study(config: CompareConfig) -> optuna.Study:
    """Return the study of ``config.out``, new or as it was left.

    Raises:
        InputError: If it is another comparison's.
    """
    check_place(config.out, folder=True)
    if config.storage is None:
        config.out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna warns that its heartbeat is experimental, which a user can do nothing about.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        storage = optuna.storages.RDBStorage(
            config.storage or f"sqlite:///{config.out / 'study.db'}",
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            # Connections that were kept for the minutes of a training would be closed by nothing.
            engine_kwargs={"poolclass": NullPool},
        )
    except Exception as error:  # whatever SQLAlchemy and a database's driver raise
        if config.storage is None:
            raise
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise InputError(f"--storage {config.storage} cannot be used: {reason:.200}.") from error
    config.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=config.out.resolve().name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        # No seed: with one, every machine and every restart would draw the same first values.
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner() if config.prune else optuna.pruners.NopPruner(),
    )
    wanted = {name: getattr(config, name) for name in SETTINGS}
    wanted["protocol"] = find_suite(config.suite).protocol  # it decides the start states
    # Studies of the version before had no chains.
    held = {"chains": 0, **study.user_attrs.get("settings", wanted)}
    for name, value in wanted.items():
        if held.get(name) != value:
            raise InputError(
                f"{config.out} holds a comparison with {name} {held.get(name)}, not {value}: name "
                "another folder with --out."
            )
    study.set_user_attr("settings", wanted)
    return study


def _restore(description: Mapping[str, Any]) -> ComparedRun:
    """Return the run that a study kept as JSON, which has lists for tuples."""
    episodes = [tuple(episode) for episode in description["episodes"]]
    return ComparedRun(**{**description, "episodes": episodes})
