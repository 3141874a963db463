"""Results of an evaluation: the content of ``results.json``, how it is computed and read.

A suite's score is the unweighted mean of the success rates of its groups, such as Meta-World's four
tiers of difficulty, and not the mean over its tasks; both are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from rich.table import Table
from scipy.stats import binomtest

from eyehand.checksums import read_json, write_json
from eyehand.envs.suite import Suite
from eyehand.functional.interval import mean_interval
from eyehand.types import InputError


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode: a line of ``episodes.jsonl``."""

    probe: str
    """Which control or chain it belongs to; empty for the evaluation itself."""
    task: str
    seed: int
    instruction: str
    """The sentence that the policy was told."""
    success: bool
    steps: int
    """Actions executed until success or the time limit."""
    seconds: float
    """Seconds since the episode before it finished (many run at the same time)."""
    commit: str
    """Commit of the code that ran it; empty outside a git checkout."""
    actions_checksum: int | None = None
    """CRC-32 of the file of its actions; None for a control, whose actions are not kept, and in
    files of the version before."""


@dataclass(frozen=True)
class Rate:
    """Successes among episodes."""

    episodes: int
    successes: int
    success_rate: float
    interval: tuple[float, float]
    """95 %: Wilson's for one task; for several, `mean_interval`, which respects shared seeds."""

    @classmethod
    def of(cls, successes: int, episodes: int) -> "Rate":
        """Return the rate of so many independent successes, with Wilson's interval.

        Raises:
            ValueError: If there are no episodes.
        """
        low, high = map(float, binomtest(successes, episodes).proportion_ci(method="wilson"))
        return Rate(episodes, successes, successes / episodes, (low, high))


@dataclass(frozen=True)
class TaskResult(Rate):
    """The result of one task."""

    group: str
    instruction: str
    mean_steps: float
    mean_steps_of_successes: float | None
    """None if no episode succeeded."""


@dataclass(frozen=True)
class GroupResult(Rate):
    """The result of the evaluated tasks of one group."""

    tasks: int
    """Tasks evaluated."""
    tasks_in_group: int


@dataclass(frozen=True)
class Mean:
    """A mean of success rates."""

    value: float
    interval: tuple[float, float]
    """95 %, `mean_interval`: of these tasks and this training, over their start states."""
    tasks: int
    """Tasks that the mean is taken over."""


@dataclass(frozen=True)
class ProbeResult(Rate):
    """The result of one control, and of the same starts without it."""

    question: str
    """What the figure shows."""
    unprobed: Rate
    """The evaluation itself on the same starts."""
    tasks: list[str]
    score: Mean | None = None
    """None unless every task was probed."""
    unprobed_score: Mean | None = None
    """That of the evaluation itself on the same starts."""


@dataclass(frozen=True)
class Film:
    """One filmed episode."""

    task: str
    seed: int
    success: bool
    file: str
    """Path inside the folder of the results."""


@dataclass(frozen=True)
class Results:
    """Everything that ``results.json`` holds; the field names are its keys."""

    protocol: str
    command: str
    """The command that reproduces the figures."""
    checkpoint: str
    checkpoint_sha256: str
    tasks: dict[str, TaskResult]
    groups: dict[str, GroupResult]
    score: Mean | None
    """The published score; None unless every task of the suite was evaluated."""
    task_mean: Mean
    seeds: tuple[int, int]
    """First and last seed of every task."""
    seed_range: str
    """Name of the range of the seeds, such as ``evaluation``."""
    observation: dict[str, str]
    """What the policy saw."""
    execution: dict[str, Any]
    """How chunks of actions were executed."""
    probes: dict[str, ProbeResult]
    films: list[Film]
    steps: int
    """Environment steps, probes included."""
    seconds: float
    steps_per_second: float
    commit: str
    versions: dict[str, str]
    episodes: list[tuple[str, int, bool, int]] = field(default_factory=list)
    """Task, seed, success and steps of every episode of the evaluation itself."""
    suite: str = "metaworld"
    """The benchmark, as `find_suite` takes it; files of the version before are of this one."""
    score_name: str = "tier mean"
    """Name of the published score."""
    policy_threads: int | None = None
    """Threads of the policy; None in files of the version before."""


def rate(records: Sequence[EpisodeRecord]) -> Rate:
    """Return the success rate of some episodes; raise a ValueError if there are none."""
    return rate_of_starts([(record.task, record.seed, record.success) for record in records])


def rate_of_starts(starts: Sequence[tuple[str, int, bool]]) -> Rate:
    """Return the success rate of episodes of any tasks: task, seed and success of each.

    The interval is Wilson's for one task with a start state for every episode.

    Raises:
        ValueError: If there are none.
    """
    found = Rate.of(sum(success for _, _, success in starts), len(starts))
    distinct = len({seed for _, seed, _ in starts}) == len(starts)
    if distinct and len({task for task, _, _ in starts}) == 1:
        return found
    return replace(found, interval=_interval(starts))


def task_results(suite: Suite, records: Sequence[EpisodeRecord]) -> dict[str, TaskResult]:
    """Return the result of every task among unprobed ``records``, in the order they come in."""
    results = {}
    for task in dict.fromkeys(record.task for record in records):
        own = [record for record in records if record.task == task]
        lengths = [record.steps for record in own if record.success]
        results[task] = TaskResult(
            **asdict(rate(own)),
            group=suite.group_of(task),
            instruction=own[0].instruction,
            mean_steps=float(np.mean([record.steps for record in own])),
            mean_steps_of_successes=float(np.mean(lengths)) if lengths else None,
        )
    return results


def group_results(suite: Suite, records: Sequence[EpisodeRecord]) -> dict[str, GroupResult]:
    """Return the result of every group of which a task is among unprobed ``records``.

    Every task has equally many episodes, so a group's rate over its episodes is the mean of its
    tasks' rates.
    """
    results = {}
    for group, tasks in suite.groups.items():
        own = [record for record in records if record.task in tasks]
        if own:
            evaluated = len({record.task for record in own})
            results[group] = GroupResult(
                **asdict(rate(own)), tasks=evaluated, tasks_in_group=len(tasks)
            )
    return results


def task_mean(records: Sequence[EpisodeRecord]) -> Mean:
    """Return the mean over the tasks of unprobed ``records``."""
    return _mean(records, dict.fromkeys((record.task for record in records), 1.0))


def score(suite: Suite, records: Sequence[EpisodeRecord]) -> Mean | None:
    """Return the unweighted mean of the groups' rates, None unless every task was evaluated."""
    if {record.task for record in records} != set(suite.tasks):
        return None
    return _mean(
        records, {task: 1 / len(tasks) for tasks in suite.groups.values() for task in tasks}
    )


def _mean(records: Sequence[EpisodeRecord], weight: Mapping[str, float]) -> Mean:
    starts = [(record.task, record.seed, record.success) for record in records]
    rates = [np.mean([r.success for r in records if r.task == task]) for task in weight]
    value = float(np.average(rates, weights=list(weight.values())))
    return Mean(value, _interval(starts, weight), len(weight))


def _interval(
    starts: Sequence[tuple[str, int, bool]], weight: Mapping[str, float] | None = None
) -> tuple[float, float]:
    tasks, seeds, successes = zip(*starts, strict=True)
    number = {task: index for index, task in enumerate(weight or dict.fromkeys(tasks))}
    low, high = mean_interval(
        np.array(successes),
        np.array([number[task] for task in tasks]),
        np.array(seeds),
        weight=None if weight is None else np.array(list(weight.values())),
    ).tolist()
    return low, high


def write_results(results: Results, file: Path) -> None:
    """Write ``results`` to ``file`` with a checksum; after a kill it is the old or the new one."""
    write_json(file, asdict(results))


def read_results(file: Path) -> Results:
    """Read ``results.json``, by its own name or by that of its folder.

    Results of an earlier protocol are read, too; they say which.

    Raises:
        InputError: If it is missing, damaged or incomplete.
    """
    file = file / "results.json" if file.is_dir() else file
    if not file.is_file():
        hint = "there is no such file"
        if file.with_name("episodes.jsonl").is_file():
            hint = "that evaluation is not finished: run it again to continue it"
        raise InputError(f"cannot read {file}: {hint}.")
    try:
        content = read_json(file)
    except InputError as error:
        raise InputError(f"{error} Or evaluate again, which keeps the episodes.") from error
    try:
        content = _with_present_names(content)
        # JSON has lists where we have tuples.
        return dacite.from_dict(Results, content, dacite.Config(cast=[tuple]))
    except (dacite.DaciteError, TypeError) as error:
        raise InputError(f"{file} is incomplete ({error}): evaluate again.") from error


_PRESENT_NAMES = {
    "tiers": "groups",
    "tier": "group",
    "tasks_in_tier": "tasks_in_group",
    "tier_mean": "score",
    "unprobed_tier_mean": "unprobed_score",
}
"""Keys of the version before, and what they are called now."""


def _with_present_names(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            _PRESENT_NAMES.get(name, name): _with_present_names(value)
            for name, value in content.items()
        }
    return content


def percent(value: float) -> str:
    """Return a rate as text.

    Example:
        >>> percent(0.839), percent(1.0)
        ('83.9 %', '100.0 %')
    """
    return f"{100 * value:.1f} %"


def percent_range(interval: tuple[float, float]) -> str:
    """Return an interval of rates as text.

    Example:
        >>> percent_range((0.839, 1.0))
        '83.9 to 100.0'
    """
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def results_table(results: Results) -> Table:
    """Return the table that the command line prints."""
    first, last = results.seeds
    told = f"{results.protocol}, seeds {first}-{last} ({results.seed_range})"
    table = Table(title=f"{results.checkpoint}: {told}", title_justify="left")
    table.add_column("")
    for heading in ("success", "95 % interval", "episodes", "mean steps"):
        table.add_column(heading, justify="right")
    for task, result in results.tasks.items():
        counts = f"{result.successes}/{result.episodes}"
        interval = percent_range(result.interval)
        table.add_row(
            task, percent(result.success_rate), interval, counts, f"{result.mean_steps:.0f}"
        )
    table.add_section()
    for title, group in results.groups.items():
        interval = percent_range(group.interval)
        name = f"{title} ({group.tasks} of {group.tasks_in_group} tasks)"
        counts = f"{group.successes}/{group.episodes}"
        table.add_row(name, percent(group.success_rate), interval, counts)
    table.add_section()
    for name, mean in mean_rows(results):
        if mean is None:
            table.add_row(name, "not covered")
        else:
            table.add_row(name, percent(mean.value), percent_range(mean.interval))
    if results.probes:
        table.add_section()
    for name, probe in results.probes.items():
        counts = f"{probe.successes}/{probe.episodes}"
        against = f"{percent(probe.success_rate)} (was {percent(probe.unprobed.success_rate)})"
        table.add_row(f"probe: {name}", against, percent_range(probe.interval), counts)
    return table


def mean_rows(results: Results) -> list[tuple[str, Mean | None]]:
    """Return both means with names that say what they are taken over."""
    number = results.task_mean.tasks
    return [
        (f"mean over the {number} task{'s' * (number > 1)} evaluated", results.task_mean),
        (f"{results.score_name} (the published score; needs every task)", results.score),
    ]
