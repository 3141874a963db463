"""Chains: tasks told one after another without a reset, and how many in a row a policy does.

So CALVIN measures (Mees et al., 2022, https://arxiv.org/abs/2112.03227): a robot is told the next
sentence as soon as it has done what it was told before, in the world as it is then, and its first
failure ends the chain. The figures are the rates of chains in which 1, 2, ... tasks in a row
succeeded, and the average length, which is the mean number of them.

Which chains there are, and in which order, is the suite's (``Suite.chains``); so is the limit of
steps, which every task has for itself. Chain number n, from 0, begins in the start state of its
first task with seed ``--seed`` + n modulo 50, so that all chains of an evaluation are on official
start states where a suite has 50 of them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from jaxtyping import Integer
from rich.table import Table

from eyehand.checksums import read_json, write_json
from eyehand.envs.rollout import POLICY_THREADS, Outcome, Start, rollout_chains
from eyehand.envs.suite import find_suite
from eyehand.evaluation.journal import Journal
from eyehand.evaluation.protocol import (
    CHAIN_SEEDS,
    EvalConfig,
    EvaluatedPolicy,
    identity,
    progress_bar,
    reproducing_command,
)
from eyehand.evaluation.results import (
    EpisodeRecord,
    Rate,
    percent,
    percent_range,
    rate_of_starts,
)
from eyehand.files import locked, software_versions
from eyehand.functional.interval import mean_interval
from eyehand.functional.sentence import check_sentence
from eyehand.types import Actor, InputError


@dataclass(frozen=True)
class Chain:
    """One chain that was told."""

    tasks: list[str]
    seed: int
    length: int
    """Tasks done in a row, from the first on."""
    steps: list[int]
    """Actions for every task that was told, the failed one included."""


@dataclass(frozen=True)
class ChainResults:
    """Everything that ``chains.json`` holds; the field names are its keys."""

    suite: str
    protocol: str
    command: str
    """The command that reproduces the figures."""
    checkpoint: str
    checkpoint_sha256: str
    in_a_row: list[Rate]
    """Chains in which at least 1, 2, ... tasks in a row succeeded; intervals are Wilson's where no
    two chains begin alike."""
    average_length: float
    """Mean number of tasks done in a row."""
    interval: tuple[float, float]
    """95 %, of `average_length`."""
    most_steps: int
    """Limit of the actions for one task."""
    seeds: tuple[int, int]
    """First and last seed; the chains take them in turn."""
    seed_range: str
    execution: dict[str, Any]
    """How chunks of actions were executed."""
    chains: list[Chain]
    """In the order of the suite."""
    steps: int
    seconds: float
    commit: str
    versions: dict[str, str]
    policy_threads: int

    def as_episodes(self) -> list[tuple[str, int, bool, int]]:
        """Return place in the chain, number of the start, success and steps, for every place.

        A place is a success where its task and all before it were done, so the success rate is the
        average length divided by the length of a chain.
        """
        starts = start_numbers([(chain.tasks[0], chain.seed) for chain in self.chains])
        return [
            (f"{place} in a row", int(start), chain.length >= place, sum(chain.steps[:place]))
            for start, chain in zip(starts, self.chains, strict=True)
            for place in range(1, len(self.in_a_row) + 1)
        ]


def chain_starts(config: EvalConfig) -> list[tuple[Start, ...]]:
    """Return the chains of an evaluation, each task with its seed and sentence.

    Raises:
        InputError: If a suite's sentence has no word, or cannot be read in another way.
    """
    suite = find_suite(config.suite)
    return [
        tuple(
            Start(
                task,
                config.seed + number % CHAIN_SEEDS,
                check_sentence(suite.instructions(task).canonical, f"the sentence of {task!r}"),
            )
            for task in chain
        )
        for number, chain in enumerate(suite.chains[: config.chains])
    ]


def evaluate_chains(policy: Actor, config: EvalConfig, evaluated: EvaluatedPolicy) -> ChainResults:
    """Tell ``policy`` the chains of ``config``, write ``chains.json``, return the results.

    The episodes of a finished chain are appended to the journal of the evaluation, in which a chain
    has the place of a probe. So chains that were killed go on, and more are added to those that are
    there.

    Raises:
        InputError: As `eyehand.evaluation.protocol.evaluate`; or if no chain is asked for, or the
            suite's environments cannot be told another task.
    """
    if config.chains < 1:
        raise InputError(f"--chains must be at least 1 to tell chains. Got {config.chains}.")
    chains, lengths = chain_starts(config), dict[int, int]()
    config.out.mkdir(parents=True, exist_ok=True)
    with locked(config.out, "evaluates"), progress_bar() as progress:
        journal = Journal(config.out, identity(config, evaluated))
        pending = []
        for number, chain in enumerate(chains):
            if records := chain_records(journal, number, chain):
                lengths[number] = sum(record.success for record in records)
            else:
                pending.append(number)
        bar = progress.add_task("chains", total=len(chains), completed=len(lengths), rate="")

        def on_chain(place: int, outcomes: Sequence[Outcome]) -> None:
            for outcome in outcomes:
                journal.add(chain_name(pending[place]), outcome)
            lengths[pending[place]] = sum(outcome.success for outcome in outcomes)
            mean = np.mean(list(lengths.values()))
            progress.update(bar, advance=1, rate=f"average length {mean:.2f}")

        rollout_chains(
            policy,
            find_suite(config.suite),
            [chains[number] for number in pending],
            execution=config.execution,
            cameras=evaluated.cameras,
            workers=config.workers,
            on_chain=on_chain,
            ray=config.ray,
        )
        told = [chain_records(journal, number, chain) for number, chain in enumerate(chains)]
        results = _results(chains, told, config, evaluated)
        write_json(config.out / "chains.json", asdict(results))
    return results


def chain_name(number: int) -> str:
    """Return what the journal calls a chain, by its place among the suite's."""
    return f"chain {number}"


def chain_records(journal: Journal, number: int, chain: Sequence[Start]) -> list[EpisodeRecord]:
    """Return the episodes of a chain up to its first failure; none if one is not there."""
    records: list[EpisodeRecord] = []
    for start in chain:
        if not journal.holds(chain_name(number), start):
            return []
        records.append(journal.record(chain_name(number), start))
        if not records[-1].success:
            break
    return records


def start_numbers(starts: Sequence[tuple[str, int]]) -> Integer[np.ndarray, " chain"]:
    """Return a number for the start of every chain; chains that begin alike have the same.

    Example:
        >>> start_numbers([("push", 7), ("reach", 7), ("push", 7)]).tolist()
        [0, 1, 0]
    """
    numbers = {start: number for number, start in enumerate(dict.fromkeys(starts))}
    return np.array([numbers[start] for start in starts])


def average_length(
    length: Integer[np.ndarray, " chain"], most: int, start: Integer[np.ndarray, " chain"]
) -> tuple[float, tuple[float, float]]:
    """Return the mean length of chains and its 95 % interval.

    The mean length is the sum of the rates of 1, 2, ... tasks in a row. What a chain adds to these
    depends on each other, and so do chains that begin with the same task in the same state: as
    episodes of one seed do. So the interval is that of `mean_interval` with starts in the place of
    seeds. It is Student's, of the mean of independent starts, but for its doubt where all chains
    are equally long.

    Args:
        length: Tasks done in a row in every chain, 0 to ``most``.
        most: Tasks of a chain.
        start: Number of every chain's start; see `start_numbers`.

    Example:
        >>> mean, (low, high) = average_length(np.array([5, 5, 0, 2]), 5, np.arange(4))
        >>> mean, low < mean < high <= 5
        (3.0, True)
    """
    done = length[:, None] > np.arange(most)
    place = np.indices(done.shape)[1]
    low, high = most * mean_interval(done.ravel(), place.ravel(), np.repeat(start, most))
    return float(length.mean()), (float(low), float(high))


def _results(
    chains: Sequence[Sequence[Start]],
    records: Sequence[Sequence[EpisodeRecord]],
    config: EvalConfig,
    evaluated: EvaluatedPolicy,
) -> ChainResults:
    """Return the results of all chains."""
    suite, most = find_suite(config.suite), len(chains[0])
    told = [
        Chain(
            tasks=[start.task for start in chain],
            seed=chain[0].seed,
            length=sum(record.success for record in own),
            steps=[record.steps for record in own],
        )
        for chain, own in zip(chains, records, strict=True)
    ]
    length = np.array([chain.length for chain in told])
    starts = start_numbers([(chain.tasks[0], chain.seed) for chain in told])
    mean, interval = average_length(length, most, starts)
    everything = [record for own in records for record in own]
    return ChainResults(
        suite=config.suite,
        protocol=suite.protocol,
        command=reproducing_command(config, evaluated),
        checkpoint=evaluated.name,
        checkpoint_sha256=evaluated.sha256,
        in_a_row=[
            rate_of_starts(
                [("", int(s), bool(long >= n)) for s, long in zip(starts, length, strict=True)]
            )
            for n in range(1, most + 1)
        ],
        average_length=mean,
        interval=interval,
        most_steps=suite.max_steps,
        seeds=(config.seed, max(chain.seed for chain in told)),
        seed_range=config.seed_range,
        execution=asdict(config.execution),
        chains=told,
        steps=sum(record.steps for record in everything),
        seconds=round(sum(record.seconds for record in everything), 1),
        commit=", ".join(sorted({record.commit for record in everything})),
        versions=software_versions(suite.packages),
        policy_threads=POLICY_THREADS,
    )


def read_chains(folder: Path) -> ChainResults | None:
    """Read ``chains.json`` of an evaluation; None if it told no chains.

    Raises:
        InputError: If it is damaged or incomplete.
    """
    file = folder / "chains.json"
    if not file.is_file():
        return None
    try:
        return dacite.from_dict(ChainResults, read_json(file), dacite.Config(cast=[tuple]))
    except (dacite.DaciteError, TypeError) as error:
        raise InputError(f"{file} is incomplete ({error}): evaluate again.") from error


def chains_table(results: ChainResults) -> Table:
    """Return the table that the command line prints."""
    first, last = results.seeds
    told = f"{len(results.chains)} chains, seeds {first}-{last} ({results.seed_range})"
    table = Table(title=f"{results.checkpoint}: {told}", title_justify="left")
    for heading in ("", "success", "95 % interval", "chains"):
        table.add_column(heading, justify="right" if heading else "left")
    for number, rate in enumerate(results.in_a_row, start=1):
        counts = f"{rate.successes}/{rate.episodes}"
        interval = percent_range(rate.interval)
        table.add_row(f"{number} in a row", percent(rate.success_rate), interval, counts)
    table.add_section()
    low, high = results.interval
    table.add_row("average length", f"{results.average_length:.2f}", f"{low:.2f} to {high:.2f}")
    return table
