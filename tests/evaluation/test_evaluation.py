"""An evaluation whose files are damaged, or whose processes die, goes on or says why not."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from eyehand.envs.execution import Execution
from eyehand.envs.rollout import drive, rollout
from eyehand.envs.suite import SUITES
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.evaluation import protocol
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy, evaluate, evaluation_starts
from eyehand.evaluation.report import write_report
from eyehand.evaluation.results import Results, read_results
from eyehand.types import Actor, InputError, Observation


class HereAndNow:
    """Films in this process: stands in for a pool of processes."""

    def __init__(self, *_: object) -> None:
        self.map = map

    def __enter__(self) -> "HereAndNow":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def small_evaluation(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still_policy: Actor
) -> Callable[[], Results]:
    """Evaluate four failures of two-ways in this process, with films and the report."""
    monkeypatch.setattr(still_policy, "action_dim", 2)
    monkeypatch.setattr(protocol, "ProcessPoolExecutor", HereAndNow)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    # As a suite of a user's module: it is found by where it is, not by its name.
    monkeypatch.delitem(SUITES, "two-ways")
    module = "eyehand.envs.two_ways:TWO_WAYS"
    config = EvalConfig(tmp_path / "out", suite=module, episodes=4, films=1)
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={"top": 32})
    env = TWO_WAYS.make("two-ways", cameras={"top": 8}, render_observations=False)
    outcomes = [
        drive(still_policy, env, start, execution=Execution(), most=TWO_WAYS.max_steps)
        for start in evaluation_starts(config)
    ]
    env.close()

    def kept(policy: object, suite: object, starts: Any, *, on_outcome: Any, **_: object) -> None:
        for outcome in outcomes:
            if outcome.start in starts:
                on_outcome(outcome)

    monkeypatch.setattr(protocol, "rollout", kept)

    def evaluate_and_report() -> Results:
        results = evaluate(still_policy, config, evaluated)
        write_report(config.out)
        assert read_results(config.out) == results
        return replace(results, seconds=0.0, steps_per_second=0.0)

    return evaluate_and_report


def content_of(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("number", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_no_damage_is_silent_and_none_a_traceback(
    number: int, small_evaluation: Callable[[], Results], tmp_path: Path
) -> None:
    """After a flipped bit or a cut the evaluation goes on to the same results, or says why not."""
    random, folder = np.random.default_rng(18), tmp_path / "out"
    wanted = small_evaluation()
    whole, lock = content_of(folder), (folder / ".lock").read_bytes()
    untouched = {name for name in whole if name.startswith(("actions/", "films/"))}
    refused: list[str] = []
    for _ in range(number):
        name = random.choice(sorted(whole))
        content = bytearray(whole[name])
        if random.random() < 0.7:
            content[random.integers(len(content))] ^= 1 << random.integers(8)
        else:
            del content[random.integers(len(content)) :][: random.integers(1, 200)]
        (folder / name).write_bytes(content)
        (folder / ".lock").write_bytes(lock[: random.integers(len(lock))])
        try:
            if name == "results.json":
                with suppress(InputError):  # a letter's other form in an escape changes nothing
                    same = replace(read_results(folder), seconds=0.0, steps_per_second=0.0)
                    assert same == wanted
            assert small_evaluation() == wanted, name
        except InputError as error:
            refused.append(str(error))
        else:
            after = content_of(folder)
            assert after.keys() == whole.keys()
            assert all(after[file] == whole[file] for file in untouched)
        for file, before in whole.items():
            (folder / file).write_bytes(before)
    assert len(refused) <= number / 5
    assert all("line 1 of" in one and "\n" not in one for one in refused)


def test_a_killed_film_maker_is_one_sentence(
    small_evaluation: Callable[[], Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise BrokenProcessPool

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "film_episode", die)
        with pytest.raises(InputError, match=r"a process that films was killed.*is kept\.$"):
            small_evaluation()
    assert len(small_evaluation().films) == 1


@pytest.mark.parametrize("stopped_at", ["film_episode", "write_results"])
def test_a_kill_between_films_and_results_leaves_a_folder_that_goes_on(
    stopped_at: str,
    small_evaluation: Callable[[], Results],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(protocol, stopped_at, stop)
        with pytest.raises(KeyboardInterrupt):
            small_evaluation()
    before = content_of(tmp_path / "out")
    for name in ("results.json", "report.html", "films/two-ways-1000000-failure.mp4"):
        (tmp_path / "out" / f"{name}.partial").write_bytes(b"what a kill leaves")
    results = small_evaluation()
    assert len(results.episodes) == 4
    after = content_of(tmp_path / "out")
    assert before.items() <= after.items()
    assert {"results.json", "report.html", results.films[0].file} <= after.keys()


@pytest.mark.slow
def test_broken_policies_and_killed_simulators_cost_no_finished_episode(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some episodes end, then the network is not finite, or the simulator is killed."""
    config = EvalConfig(tmp_path / "out", suite="two-ways", episodes=10, films=0, workers=1)

    class Breaks:
        """One of its robots breaks, in one way or another."""

        def __init__(self, robot: int, how: Callable[[], float]) -> None:
            self.robot, self.how = robot, how

        def reset(self, env_ids: Sequence[int]) -> None:
            pass

        def act(self, observation: Observation, *, generator: object = None) -> torch.Tensor:
            chunk = torch.zeros(len(observation.env_ids), 16, 2)
            if self.robot in observation.env_ids:
                chunk += self.how()
            return chunk

    def kill() -> float:
        (worker,) = (
            child for child in psutil.Process().children() if "spawn_main" in str(child.cmdline())
        )
        worker.kill()
        return 0.0

    monkeypatch.setattr(protocol, "rollout", partial(rollout, environments=8))
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={"top": 32})
    for robot, how, said in [
        (8, lambda: math.nan, r"'two-ways' \(seed 10000\d\d\): .* not finite at step \d+"),
        (1, kill, r"worker 0 was killed by SIGKILL.*what is finished is kept"),
    ]:
        with pytest.raises(InputError, match=said):
            evaluate(Breaks(robot, how), config, evaluated)
        assert len((config.out / "episodes.jsonl").read_text().splitlines()) >= 2
    results = evaluate(Breaks(0, lambda: 0.0), config, evaluated)
    assert results.task_mean.tasks == 1
    assert len(results.episodes) == 10
