"""Chains: with made-up outcomes, against figures computed by hand, and once for real."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import t

from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation import chain as chain_module
from eyehand.evaluation.chain import (
    ChainResults,
    average_length,
    chain_starts,
    chains_table,
    evaluate_chains,
    read_chains,
)
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy
from eyehand.evaluation.results import rate_of_starts
from eyehand.types import Actor, InputError, Observation


class FakeRollout:
    """Succeeds where ``succeeds`` says so; may be killed after some chains."""

    def __init__(
        self, succeeds: Callable[[Start], bool], *, killed_after: int | None = None
    ) -> None:
        self.succeeds, self.killed_after = succeeds, killed_after
        self.told: list[Sequence[Start]] = []

    def __call__(
        self,
        policy: object,
        suite: object,
        chains: Sequence[Sequence[Start]],
        *,
        on_chain: Callable[[int, Sequence[Outcome]], None],
        **arguments: object,
    ) -> None:
        for place, chain in reversed(list(enumerate(chains))):  # chains end in any order
            if self.killed_after == len(self.told):
                raise KeyboardInterrupt
            self.told.append(chain)
            outcomes = []
            for start in chain:
                outcomes.append(Outcome(start, self.succeeds(start), np.zeros((3, 2), np.float32)))
                if not outcomes[-1].success:
                    break
            on_chain(place, outcomes)


Run = Callable[..., ChainResults]


@pytest.fixture
def config(tmp_path: Path, lamps: Any) -> EvalConfig:
    return EvalConfig(tmp_path / "out", suite="lamps:LAMPS", episodes=1, chains=6, workers=1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, still_policy: Actor) -> Run:
    """Tell chains with a fake rollout, without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={"top": 4})

    def run_with(fake: FakeRollout, config: EvalConfig) -> ChainResults:
        monkeypatch.setattr(chain_module, "rollout_chains", fake)
        return evaluate_chains(still_policy, config, evaluated)

    return run_with


def no_blue(start: Start) -> bool:
    """Return whether a task is another than blue, which is third, second, first, ... in a chain."""
    return start.task != "blue"


def test_a_policy_that_always_succeeds_does_five(run: Run, config: EvalConfig) -> None:
    results = run(FakeRollout(lambda start: True), config)
    assert results.average_length == 5
    assert results.interval[0] < results.interval[1] == 5
    assert [rate.success_rate for rate in results.in_a_row] == [1.0] * 5
    assert results.steps == 6 * 5 * 3
    assert {chain.length for chain in results.chains} == {5}


def test_figures_are_those_of_the_pattern(run: Run, config: EvalConfig) -> None:
    """Without blue the six chains have the lengths 2, 1, 0, 5, 4 and 3."""
    results = run(FakeRollout(no_blue), config)
    assert [chain.length for chain in results.chains] == [2, 1, 0, 5, 4, 3]
    assert [rate.successes for rate in results.in_a_row] == [5, 4, 3, 2, 1]
    assert [rate.episodes for rate in results.in_a_row] == [6] * 5
    assert results.in_a_row[2].interval == pytest.approx((0.1876, 0.8124), abs=1e-4)  # Wilson's
    assert results.average_length == pytest.approx(15 / 6)
    assert results.chains[0].tasks == ["red", "green", "blue", "white", "black"]
    assert results.chains[0].steps == [3, 3, 3]
    assert (results.suite, results.protocol) == ("lamps:LAMPS", "lamps-v1")
    assert results.most_steps == 12
    assert (results.seeds, results.seed_range) == ((1_000_000, 1_000_005), "evaluation")


def test_every_place_of_a_chain_is_an_episode_for_comparisons(run: Run, config: EvalConfig) -> None:
    results = run(FakeRollout(no_blue), config)
    episodes = results.as_episodes()
    assert episodes[:3] == [
        ("1 in a row", 0, True, 3), ("2 in a row", 0, True, 6), ("3 in a row", 0, False, 9),
    ]  # fmt: skip
    assert len(episodes) == 6 * 5
    won = sum(success for _, _, success, _ in episodes)
    assert 5 * won / len(episodes) == results.average_length


def test_the_interval_is_students_but_for_its_doubt() -> None:
    """20 chains of length 5, 3 and 0: by hand, and beside scipy's of the mean of 20 numbers."""
    length = np.repeat([5, 3, 0], [10, 5, 5])
    mean, (low, high) = average_length(length, 5, np.arange(20))
    assert mean == 3.25
    assert (low, high) == pytest.approx((2.28446, 4.21554), abs=1e-4)
    plain = t.interval(0.95, 19, loc=mean, scale=length.std(ddof=1) / np.sqrt(20))
    assert (low, high) == pytest.approx(plain, abs=0.03)
    for lengths in (np.full(20, 5), np.full(20, 0), np.full(20, 3), np.array([4])):
        mean, (low, high) = average_length(lengths, 5, np.arange(len(lengths)))
        assert 0 <= low <= mean <= high <= 5
        assert low < high


def test_chains_that_begin_alike_are_one_draw() -> None:
    """Every chain told four times tells no more than once: the interval is as wide."""
    once = np.tile([5, 3, 0, 4], 5)
    many, start = np.repeat(once, 4), np.repeat(np.arange(20), 4)
    mean, (low, high) = average_length(many, 5, start)
    assert mean == once.mean()
    single = average_length(once, 5, np.arange(20))[1]
    assert high - low > 0.9 * (single[1] - single[0])
    narrow = average_length(many, 5, np.arange(80))[1]
    assert narrow[1] - narrow[0] < 0.6 * (high - low)
    rates = [
        rate_of_starts(
            [("", int(s), bool(long >= 4)) for s, long in zip(starts, many, strict=True)]
        )
        for starts in (start, np.arange(80))
    ]
    widths = [high - low for low, high in (rate.interval for rate in rates)]
    assert widths[0] > 1.5 * widths[1]


def test_chains_take_fifty_start_states_in_turn(config: EvalConfig) -> None:
    wanted = replace(config, suite="libero-goal", chains=101, seed=10_000)
    chains = chain_starts(wanted)
    assert [chain[0].seed for chain in chains] == [10_000 + number % 50 for number in range(101)]
    for chain in chains:
        assert len({start.seed for start in chain}) == 1
        assert len({start.task for start in chain}) == 5
        assert all(start.instruction == start.task.replace("_", " ") for start in chain)


@pytest.mark.parametrize("killed_after", [0, 1, 4])
@pytest.mark.parametrize("lines_lost", [0, 1])
def test_killed_chains_go_on_without_repeating(
    killed_after: int, lines_lost: int, run: Run, config: EvalConfig, tmp_path: Path
) -> None:
    """A chain of which a line is missing is told again, and no other."""
    killed = FakeRollout(no_blue, killed_after=killed_after)
    with pytest.raises(KeyboardInterrupt):
        run(killed, config)
    assert read_chains(config.out) is None
    journal = config.out / "episodes.jsonl"
    first, *lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([first, *lines[: len(lines) - lines_lost]]))
    resumed, once = FakeRollout(no_blue), FakeRollout(no_blue)
    results = run(resumed, config)
    whole = run(once, replace(config, out=tmp_path / "whole"))
    assert len(once.told) == 6
    repeated = lines_lost if killed.told else 0
    assert len(killed.told) + len(resumed.told) == 6 + repeated
    assert timeless(results, whole.command) == timeless(whole, whole.command)
    assert read_chains(config.out) == results
    nothing = FakeRollout(no_blue)
    assert run(nothing, config) == results
    assert nothing.told == []


def timeless(results: ChainResults, command: str) -> ChainResults:
    return replace(results, seconds=0.0, command=command)


def test_more_chains_are_added_to_what_is_there(run: Run, config: EvalConfig) -> None:
    few = run(FakeRollout(no_blue), replace(config, chains=2))
    more = FakeRollout(no_blue)
    results = run(more, config)
    assert len(more.told) == 4
    assert results.chains[:2] == few.chains
    assert (len(few.chains), few.average_length) == (2, 1.5)


def test_other_words_are_another_chain(
    run: Run, config: EvalConfig, lamps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(FakeRollout(no_blue), config)
    sentences = {
        task: replace(lamps.LAMPS.instructions(task), canonical=f"{task} now")
        for task in lamps.LAMPS.tasks
    }
    monkeypatch.setattr(lamps, "LAMPS", replace(lamps.LAMPS, sentences=sentences.__getitem__))
    again = FakeRollout(no_blue)
    run(again, config)
    assert len(again.told) == 6


def test_a_file_that_cannot_be_used_is_named(run: Run, config: EvalConfig) -> None:
    assert read_chains(config.out) is None
    run(FakeRollout(no_blue), config)
    file = config.out / "chains.json"
    text = file.read_text()
    file.write_text(text.replace('"average_length": 2.5', '"average_length": 3.5'))
    with pytest.raises(InputError, match=r"chains\.json"):
        read_chains(config.out)
    file.write_text("{}")
    with pytest.raises(InputError, match=r"chains\.json is incomplete .*: evaluate again"):
        read_chains(config.out)


def test_no_chains_asked_for_is_refused(run: Run, config: EvalConfig) -> None:
    with pytest.raises(InputError, match=r"--chains must be at least 1 to tell chains\. Got 0"):
        run(FakeRollout(no_blue), replace(config, chains=0))
    assert not config.out.exists()


def test_table_has_every_figure(run: Run, config: EvalConfig) -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(chains_table(run(FakeRollout(no_blue), config)))
    text = " ".join(console.export_text().split())
    for said in ["6 chains, seeds 1000000-1000005 (evaluation)", "3 in a row", "50.0 %", "3/6",
                 "18.8 to 81.2", "average length", "2.50"]:  # fmt: skip
        assert said in text, said


class Lights:
    """Does what it is told, but for the third task; it counts how often it was reset."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self, env_ids: Sequence[int]) -> None:
        self.resets += len(env_ids)

    def act(self, observation: Observation, *, generator: object = None) -> torch.Tensor:
        able = [sentence != "Switch on the blue lamp" for sentence in observation.instruction]
        return torch.tensor(able, dtype=torch.float32)[:, None, None].expand(-1, 4, 2)


def test_a_real_simulator_is_told_what_comes_next(config: EvalConfig, checkpoint: Path) -> None:
    policy = Lights()
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={"top": 4})
    results = evaluate_chains(policy, replace(config, chains=1), evaluated)
    (told,) = results.chains
    assert (told.length, told.steps, told.seed) == (2, [1, 1, 12], 1_000_000)
    assert results.average_length == 2
    assert policy.resets == 6  # before and after each of three tasks
    assert read_chains(config.out) == results
