"""The evaluation: a policy's success rates on start states that it was not trained on.

A suite (`eyehand.envs.suite`) defines the tasks and the score. This file has what all suites
share: start states, controls, and the content of the results.

The seed of a start state says what it may be used for: 0-9,999 demonstrations for training,
10,000-19,999 validation (choosing checkpoints and settings), import os
from 1,000,000 evaluation.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eyehand.available_memory import check_workers
from eyehand.child_process import end_with_parent
from eyehand.envs.execution import Execution
from eyehand.envs.rollout import POLICY_THREADS, Outcome, Start, rollout
from eyehand.envs.suite import Suite, find_suite
from eyehand.evaluation.film import film_episode, is_whole_film
from eyehand.evaluation.journal import Journal, load_actions
from eyehand.evaluation.probes import Probe, probes_of
from eyehand.evaluation.results import (
    EpisodeRecord,
    Film,
    ProbeResult,
    Results,
    group_results,
    percent,
    rate,
    score,
    task_mean,
    task_results,
    write_results,
)
from eyehand.files import check_place, locked, software_versions
from eyehand.functional.sentence import check_sentence
from eyehand.types import Actor, InputError, check_ranges

SEED_RANGES = {
    "training": range(10_000),
    "validation": range(10_000, 20_000),
    "unassigned": range(20_000, 1_000_000),
    "evaluation": range(1_000_000, 2**31),
}
"""What start states are for, by seed."""
MOST_EPISODES = 1_000_000
"""Of a task."""
CHAIN_SEEDS = 50
"""Start states that chains take in turn, from ``--seed`` on: as many as some suites publish."""


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, and how."""

    out: Path
    """Folder of results.json, report.html and films; an unfinished evaluation in it goes on."""
    suite: str = "metaworld"
    """The benchmark."""
    tasks: str = "all"
    """Separated by commas: task names, groups or sets of tasks (Meta-World: easy, medium, hard,
    very-hard, mt10), or all."""
    episodes: int = 20
    """Episodes per task."""
    seed: int = 1_000_000
    """Seed of the first episode of every task; the others follow. Reported figures use 1,000,000
    and above; 0-9,999 are for training and are refused here."""
    workers: int = 2
    """Simulator processes."""
    ray: str | None = None
    """Run the simulators in a Ray cluster: auto takes that of RAY_ADDRESS or starts one on this
    machine, HOST:PORT names one. Results are the same (docs/ray.md)."""
    execution: Execution = field(default_factory=Execution)
    """How chunks of actions are executed."""
    probe: bool = False
    """Also run the controls: another sentence, no sentence, a blank picture, a zeroed state."""
    probe_episodes: int | None = None
    """Episodes per task of each control, on the first seeds; left out, as many as ``episodes``."""
    films: int = 2
    """Films per task, a success and a failure in turn; 0 makes none."""
    chains: int = 0
    """Also tell so many chains of the suite's tasks, whatever ``tasks`` says, each chain without a
    reset between its tasks and up to its first failure."""

    def __post_init__(self) -> None:
        """Check that numbers are in range and that the tasks exist."""
        check_ranges(
            self,
            episodes=(1, MOST_EPISODES),
            probe_episodes=(1, MOST_EPISODES),
            films=(0, MOST_EPISODES),
            chains=(0, MOST_EPISODES),
        )
        check_workers(self.workers, elsewhere=self.ray is not None)
        suite = find_suite(self.suite)
        suite.select_tasks(self.tasks)
        suite.check_chains(self.chains)
        if self.seed_range == "training":
            raise InputError(
                f"--seed {self.seed} is in 0-9999, the start states of training: "
                "use 1000000 and above (10000-19999 for validation)."
            )

    @property
    def seed_range(self) -> str:
        """Name of the range of the seeds.

        Raises:
            InputError: If they are not all in one range.
        """
        for name, seeds in SEED_RANGES.items():
            if self.seed in seeds:
                used = max(self.episodes, min(self.chains, CHAIN_SEEDS))
                if self.seed + used - 1 not in seeds:
                    chains = f" and --chains {self.chains}" if self.chains else ""
                    raise InputError(
                        f"--seed {self.seed} with --episodes {self.episodes}{chains} leaves the "
                        f"{name} range, {seeds.start}-{seeds.stop - 1}."
                    )
                self._check_last(self.seed + used - 1)
                return name
        raise InputError(f"--seed must lie between 0 and {2**31 - 1}. Got {self.seed}.")

    def _check_last(self, seed: int) -> None:
        """Refuse start states that the suite does not have, before any work is done."""
        suite = find_suite(self.suite)
        if suite.last_seed is not None and seed > suite.last_seed:
            raise InputError(
                f"the last start state of {suite.name} is seed {suite.last_seed}, and these "
                f"episodes reach {seed}: take a smaller --seed, or fewer."
            )


@dataclass(frozen=True)
class EvaluatedPolicy:
    """The policy that is measured: a checkpoint, or a policy on a server."""

    name: str
    """Folder of the checkpoint, or address of the server."""
    sha256: str
    """Hash of its configuration and weights, or of the server's metadata."""
    cameras: Mapping[str, int]
    """Height and width of the pictures that it reads, in pixels, by camera."""
    words: tuple[str, ...]
    """The arguments that name it on the command line."""

    @classmethod
    def checkpoint(cls, folder: Path, *, cameras: Mapping[str, int]) -> "EvaluatedPolicy":
        """Return the checkpoint in ``folder``.

        Raises:
            InputError: If it lacks its configuration or its weights.
        """
        name = str(folder)
        return cls(name, checkpoint_sha256(folder), cameras, words=(name,))


def evaluation_starts(config: EvalConfig) -> list[Start]:
    """Return the starts of an evaluation: every task with every seed and the task's sentence.

    Raises:
        InputError: If a suite's sentence has no word, or cannot be read in another way.
    """
    suite = find_suite(config.suite)
    return [
        Start(task, config.seed + number, sentence)
        for task in suite.select_tasks(config.tasks)
        for sentence in [
            check_sentence(suite.instructions(task).canonical, f"the sentence of {task!r}")
        ]
        for number in range(config.episodes)
    ]


def evaluate(policy: Actor, config: EvalConfig, evaluated: EvaluatedPolicy) -> Results:
    """Measure ``policy``, write ``results.json`` and films into ``config.out``, return the results.

    Every finished episode is appended to ``episodes.jsonl``. So an evaluation that was killed is
    continued, and more episodes, tasks or probes are added without repeating finished ones. The
    folder is held by one evaluation at a time.

    Raises:
        InputError: If ``config.out`` holds episodes of another policy, execution or version, or
            another process evaluates there; if the policy's actions are not finite; if a process
            was killed. Finished episodes are kept.
    """
    check_place(config.out, folder=True)
    suite, starts = find_suite(config.suite), evaluation_starts(config)
    rounds = [(Probe("", "", list), starts)]
    if config.probe:
        last = config.seed + (config.probe_episodes or config.episodes) - 1
        probed = [start for start in starts if start.seed <= last]
        rounds += [(probe, probe.starts(probed)) for probe in probes_of(suite)]
    config.out.mkdir(parents=True, exist_ok=True)
    with locked(config.out, "evaluates"), progress_bar() as progress:
        journal = Journal(config.out, identity(config, evaluated))
        pending = {
            probe.name: [start for start in told if not journal.holds(probe.name, start)]
            for probe, told in rounds
        }
        bar = progress.add_task("evaluating", total=sum(len(told) for _, told in rounds), rate="")
        for probe, told in rounds:
            name = probe.name
            progress.update(bar, description=name or "evaluating")
            progress.advance(bar, len(told) - len(pending[name]))
            if pending[name]:
                rollout(
                    policy,
                    suite,
                    pending[name],
                    execution=config.execution,
                    cameras=evaluated.cameras,
                    workers=config.workers,
                    disturbance=probe.disturbance,
                    transform=probe.transform,
                    on_outcome=_bookkeeper(journal, name, progress, bar),
                    ray=config.ray,
                )
        records = {
            probe.name: [journal.record(probe.name, start) for start in told]
            for probe, told in rounds
        }
        films = make_films(suite, records[""], config, progress)
        results = _results(suite, records, films, config, evaluated)
        write_results(results, config.out / "results.json")
    return results


def _bookkeeper(
    journal: Journal, probe: str, progress: Progress, bar: Any
) -> Callable[[Outcome], None]:
    """Return the function that stores an outcome and moves the progress bar."""

    def on_outcome(outcome: Outcome) -> None:
        journal.add(probe, outcome)
        progress.update(bar, advance=1, rate=f"success {percent(journal.success_rate(probe))}")

    return on_outcome


def progress_bar() -> Progress:
    """Return the progress display of an evaluation, with time left and success rate so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    return Progress(*columns, console=Console(stderr=True))


def identity(config: EvalConfig, evaluated: EvaluatedPolicy) -> dict[str, Any]:
    """Return what an episode's outcome depends on, beside task, seed, sentence and probe."""
    suite = find_suite(config.suite)
    return {
        "protocol": suite.protocol,
        "checkpoint_sha256": evaluated.sha256,
        "execution": asdict(config.execution),
        "cameras": dict(evaluated.cameras),
        "policy_threads": POLICY_THREADS,
        "versions": software_versions(suite.packages),
    }


def checkpoint_sha256(checkpoint: Path) -> str:
    """Return the hash of a checkpoint's configuration and weights.

    Raises:
        InputError: If one of the two files is missing.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        file = checkpoint / name
        if not file.is_file():
            raise InputError(f"{checkpoint} is no checkpoint: it has no {name}.")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def films_to_make(records: Sequence[EpisodeRecord], number: int) -> list[EpisodeRecord]:
    """Choose ``number`` episodes per task in the order of seeds: success, failure, success, ...

    Example:
        >>> def episode(seed, success):
        ...     return EpisodeRecord("", "reach", seed, "", success, 9, 0.1, "")
        >>> records = [episode(0, False), episode(1, False), episode(2, True), episode(3, True)]
        >>> [record.seed for record in films_to_make(records, 3)]
        [2, 0, 3]
    """
    chosen = []
    for task in dict.fromkeys(record.task for record in records):
        own = [record for record in records if record.task == task]
        kinds = [[r for r in own if r.success], [r for r in own if not r.success]]
        most = max(map(len, kinds))
        turns = [kind[turn] for turn in range(most) for kind in kinds if turn < len(kind)]
        # One film is enough of a task that always succeeds, or always fails.
        chosen += turns[:number] if all(kinds) else turns[: (number + 1) // 2]
    return chosen


def make_films(
    suite: Suite, records: Sequence[EpisodeRecord], config: EvalConfig, progress: Progress
) -> list[Film]:
    """Film the chosen episodes in worker processes; films that are there and whole are kept.

    Raises:
        InputError: If an episode's actions are damaged, or a process was killed.
    """
    folder = config.out / "films"
    folder.mkdir(exist_ok=True)
    films, jobs = [], []
    for record in films_to_make(records, config.films):
        ending = "success" if record.success else "failure"
        file = folder / f"{record.task}-{record.seed}-{ending}.mp4"
        films.append(Film(record.task, record.seed, record.success, f"films/{file.name}"))
        if not is_whole_film(file):
            actions = load_actions(config.out, record.task, record.seed)
            start = Start(record.task, record.seed, record.instruction)
            jobs.append((suite, Outcome(start, record.success, actions), file))
    if jobs:
        bar = progress.add_task("filming", total=len(jobs), rate="")
        # Films are made here, even where the simulators were in a cluster.
        workers = config.workers if config.ray is None else min(config.workers, os.cpu_count() or 1)
        # spawn: a GL context does not survive a fork.
        with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
            try:
                for _ in pool.map(film_episode, *zip(*jobs, strict=True)):
                    progress.advance(bar)
            except BrokenProcessPool as error:
                raise InputError(
                    "a process that films was killed (the machine may be out of memory): evaluate "
                    "again, with fewer --workers if memory is short; what is finished is kept."
                ) from error
    return films


def _results(
    suite: Suite,
    records: dict[str, list[EpisodeRecord]],
    films: list[Film],
    config: EvalConfig,
    evaluated: EvaluatedPolicy,
) -> Results:
    """Return the results of all episodes."""
    own = records[""]
    everything = [record for group in records.values() for record in group]
    steps = sum(record.steps for record in everything)
    seconds = sum(record.seconds for record in everything)
    return Results(
        suite=config.suite,
        protocol=suite.protocol,
        command=reproducing_command(config, evaluated),
        checkpoint=evaluated.name,
        checkpoint_sha256=evaluated.sha256,
        tasks=task_results(suite, own),
        groups=group_results(suite, own),
        score=score(suite, own),
        score_name=suite.score,
        task_mean=task_mean(own),
        seeds=(config.seed, config.seed + config.episodes - 1),
        seed_range=config.seed_range,
        observation=_observation(suite, evaluated),
        execution=asdict(config.execution),
        probes={
            probe.name: _probe_result(suite, probe, records[probe.name], own)
            for probe in probes_of(suite)
            if records.get(probe.name)
        },
        films=films,
        steps=steps,
        seconds=round(seconds, 1),
        steps_per_second=round(steps / max(seconds, 1e-9), 1),
        commit=", ".join(sorted({record.commit for record in everything})),
        versions=software_versions(suite.packages),
        policy_threads=POLICY_THREADS,
        episodes=[(r.task, r.seed, r.success, r.steps) for r in own],
    )


def _observation(suite: Suite, evaluated: EvaluatedPolicy) -> dict[str, str]:
    """Return what the policy could see, in words."""
    state = ", ".join(one.name for one in suite.state)
    return {
        "camera": ", ".join(evaluated.cameras),
        "picture": ", ".join(f"{size} x {size} RGB" for size in evaluated.cameras.values()),
        "state": f"{len(suite.state)}-D: {state}",
        "instruction": "the canonical sentence of the task",
        "privileged": "none",
    }


def _probe_result(
    suite: Suite, probe: Probe, probed: list[EpisodeRecord], unprobed: list[EpisodeRecord]
) -> ProbeResult:
    """Compare a probe with the evaluation on the same starts."""
    starts = {(record.task, record.seed) for record in probed}
    same = [record for record in unprobed if (record.task, record.seed) in starts]
    return ProbeResult(
        **asdict(rate(probed)),
        question=probe.question,
        unprobed=rate(same),
        score=score(suite, probed),
        unprobed_score=score(suite, same),
        tasks=list(dict.fromkeys(record.task for record in probed)),
    )


def reproducing_command(config: EvalConfig, evaluated: EvaluatedPolicy) -> str:
    """Return the command line that repeats the evaluation."""
    words = ["eyehand", "eval", *evaluated.words, "--suite", config.suite]
    words += ["--tasks", config.tasks]
    words += ["--episodes", str(config.episodes), "--seed", str(config.seed)]
    words += ["--workers", str(config.workers)]
    for name, value in asdict(config.execution).items():
        if value is not None:
            words += [f"--execution.{name.replace('_', '-')}", str(value)]
    words += ["--probe"] if config.probe else []
    if config.probe_episodes is not None:
        words += ["--probe-episodes", str(config.probe_episodes)]
    words += ["--chains", str(config.chains)] if config.chains else []
    return shlex.join([*words, "--films", str(config.films), "--out", str(config.out)])
