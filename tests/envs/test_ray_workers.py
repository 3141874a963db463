"""One cluster of this machine serves all tests; who simulates, and who dies, may change nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from eyehand.envs.execution import Execution
from eyehand.envs.ray_workers import RayExecutor, RayVectorEnv, connect
from eyehand.envs.rollout import Outcome, Start, rollout, rollout_chains
from eyehand.envs.slots import WorkerDeathError, WorkerError
from eyehand.envs.suite import find_suite
from eyehand.envs.two_ways import CAMERA, TASK, TWO_WAYS
from eyehand.evaluation.chain import evaluate_chains
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy
from eyehand.recipes import find_recipe
from eyehand.runs.compare import CompareConfig, compare
from eyehand.types import InputError, Observation

STAND_INS = Path(__file__).parents[1] / "stand_ins"
NEEDS_RAY = 'needs Ray: pip install "eyehand[ray]"'
STARTS = [Start(TASK, seed, "Go to the green disc") for seed in (3, 1, 4, 1, 5, 9)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that starts by itself, whose processes can import the stand-ins by name."""
    pytest.importorskip("ray", reason=NEEDS_RAY)
    path = os.pathsep.join([str(STAND_INS), os.environ.get("PYTHONPATH", "")])
    with patch.dict(os.environ, {"PYTHONPATH": path}):
        os.environ.pop("RAY_ADDRESS", None)
        ray = connect("auto", 2)
        yield ray
        ray.shutdown()


def kill_worker(doing: str) -> bool:
    """Kill a process of the cluster that does something; return whether there was one."""
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith(f"ray::{doing}"):
            process.kill()
            return True
    return False


@pytest.fixture
def slow_ways(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a policy, and with what is killed in the middle."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    return __import__("slow_ways")


def outcomes_of(policy: Any, *, ray: str | None, workers: int = 2) -> list[Outcome]:
    return rollout(
        policy, TWO_WAYS, STARTS, execution=Execution(steps=4), cameras={CAMERA: 16},
        workers=workers, environments=4, ray=ray,
    )  # fmt: skip


def assert_same(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> None:
    for one, other in zip(outcomes, others, strict=True):
        assert (one.start, one.success, one.terminated) == (
            other.start, other.success, other.terminated,
        )  # fmt: skip
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.reward, other.reward)


def test_without_ray_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with patch.dict(os.environ), pytest.raises(InputError, match=r'--ray.*"eyehand\[ray\]"'):
        connect("auto", 2)


def test_whatever_simulates_asks_for_the_cluster(
    lamps: Any, slow_ways: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    # So many workers fit into no memory here, which nobody asks for where they run elsewhere.
    many: dict[str, Any] = {"ray": "auto", "workers": 1_000_000}
    chains = EvalConfig(tmp_path / "chains", "lamps:LAMPS", chains=1, **many)
    compared = CompareConfig(tmp_path / "compared", suite="two-ways", tasks="all", **many)
    recipe = find_recipe("bcz-metaworld")
    recipe = replace(recipe, policy=replace(recipe.policy, cameras=(CAMERA,)))
    wanderer = EvaluatedPolicy("wanderer", "0", {"top": 4}, words=())
    for work in (
        lambda: slow_ways.evaluation(tmp_path / "evaluation", "two-ways", "auto"),
        lambda: evaluate_chains(slow_ways.Wanderer(), chains, wanderer),
        lambda: slow_ways.recording(tmp_path / "recording", "two-ways", "auto"),
        lambda: compare(["policy.head=mlp"], compared, recipe),
    ):
        with patch.dict(os.environ), pytest.raises(InputError, match="--ray needs Ray"):
            work()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody", "ray://127.0.0.1:x"])
def test_an_address_where_no_cluster_is_is_refused_at_once(address: str) -> None:
    pytest.importorskip("ray", reason=NEEDS_RAY)
    with patch.dict(os.environ), pytest.raises(InputError, match=f"answers at '{address}'"):
        connect(address, 2)


@pytest.mark.parametrize(
    ("workers", "deaths"), [(1, (4,)), pytest.param(2, (1, 4, 9), marks=pytest.mark.slow)]
)
def test_outcomes_are_those_of_local_workers_also_when_actors_die(
    cluster: Any, slow_ways: Any, workers: int, deaths: Sequence[int]
) -> None:
    killed = []

    def kill(call: int) -> None:
        if call in deaths:
            killed.append(kill_worker("_Actor"))

    local = outcomes_of(slow_ways.Wanderer(), ray=None, workers=workers)
    assert len({outcome.steps for outcome in local}) > 1
    assert_same(outcomes_of(slow_ways.Wanderer(kill), ray="auto", workers=workers), local)
    assert killed == [True] * len(deaths)


@pytest.mark.slow
def test_a_chain_goes_on_where_its_actor_died(cluster: Any, lamps: Any) -> None:
    """The second lamp is told after the first, in the same world; the actor dies in between."""
    calls = []

    class Switch:
        def reset(self, env_ids: Sequence[int]) -> None:
            pass

        def act(self, observation: Observation, *, generator: object = None) -> Tensor:
            calls.append(observation.state[0].tolist())
            if len(calls) == 2:
                assert kill_worker("_Actor")
            return torch.ones(len(observation.env_ids), 1, 2)

    chain = [Start(task, 7, task) for task in lamps.LAMPS.chains[0]]
    (done,) = rollout_chains(
        Switch(), lamps.LAMPS, [chain], execution=Execution(steps=1), cameras={"top": 4},
        workers=1, ray="auto",
    )  # fmt: skip
    assert [outcome.success for outcome in done] == [True] * 5
    assert calls == [[7, number] for number in range(5)]


@pytest.mark.slow
def test_failures_are_told(cluster: Any, stand_in: Any) -> None:
    shape: dict[str, Any] = {"slots": 1, "workers": 1, "cameras": {"eye": 4}, "state_dim": 4}
    with RayVectorEnv(stand_in, **shape, address="auto") as vector:
        assert vector.receive() == []
        for task, error, sentence in [
            ("unknown", InputError, "Did you mean 'known'"),
            (
                "broken",
                WorkerError,
                r"'broken' \(seed 7\) failed in worker 0:[^$]*the arm fell off",
            ),
            ("deadly", WorkerDeathError, r"died 3 times.* 'deadly' \(seed 7\): start again"),
        ]:
            vector._busy.clear()
            vector.reset(0, task, seed=7)
            if task != "unknown":
                vector.receive()
                vector.step(0, np.zeros((1, 4), np.float32))
                assert vector.receive(0.0) == []
            with pytest.raises(error, match=sentence):
                vector.receive()


def test_a_cluster_that_is_too_small_is_refused(cluster: Any) -> None:
    with pytest.raises(InputError, match=r"--workers 3 needs .* the Ray cluster has 2: choose"):
        connect("auto", 3)


def test_functions_run_in_the_cluster(cluster: Any, tmp_path: Path) -> None:
    """What is raised there is raised here; of an `InputError` the sentence is enough."""
    with RayExecutor("auto", workers=1, initializer=os.chdir, initargs=(tmp_path,)) as executor:
        assert executor.submit(os.getcwd).result() == str(tmp_path)
        with pytest.raises(FileNotFoundError, match="nothing"):
            executor.submit(os.stat, "nothing").result()
        with pytest.raises(InputError, match=r"^no suite 'nothing'"):
            executor.submit(find_suite, "nothing").result()


@pytest.mark.slow
def test_a_function_that_kills_its_process_is_called_three_times(
    cluster: Any, stand_in: Any, tmp_path: Path
) -> None:
    with RayExecutor("auto", workers=2, initializer=os.getpid, initargs=()) as executor:
        dies = executor.submit(sys.modules["arm"].die, tmp_path, times=2)
        assert dies.result() == "alive"
        dies = executor.submit(sys.modules["arm"].die, tmp_path, times=9)
        with pytest.raises(BrokenProcessPool):
            dies.result()
    assert len(list(tmp_path.iterdir())) == 2 + 3


@pytest.mark.slow
def test_without_the_token_nobody_gets_in(cluster: Any, tmp_path: Path) -> None:
    address = cluster.get_runtime_context().gcs_address
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    program = f"from eyehand.envs.ray_workers import connect; connect({address!r}, 1)"
    for token in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        tried = subprocess.run(
            [sys.executable, "-c", program], env={**others, **token, "HOME": str(tmp_path)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert "does not let this process in" in tried.stderr
    token = os.environ["RAY_AUTH_TOKEN"]
    lines = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert token not in str(lines)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "within"), [(signal.SIGINT, 20), (signal.SIGKILL, 180)])
def test_nothing_is_left_running(how: signal.Signals, within: float, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole process group, as from a terminal; a kill to the command alone."""
    pytest.importorskip("ray", reason=NEEDS_RAY)
    command = [sys.executable, str(STAND_INS / "slow_ways.py"), "evaluate", str(tmp_path), "auto"]
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(
        command, env=others, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as driver:
        journal = tmp_path / "episodes.jsonl"
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
            assert driver.poll() is None
            time.sleep(0.2)
        started = psutil.Process(driver.pid).children(recursive=True)
        assert len([one for one in started if one.name().startswith("ray::_Actor")]) == 2
        if how == signal.SIGINT:
            os.killpg(driver.pid, how)
        else:
            driver.kill()
        _, errors = driver.communicate(timeout=within)
    _, left = psutil.wait_procs(started, timeout=within)
    assert left == []
    assert errors.count("Traceback") == (1 if how == signal.SIGINT else 0), errors


def drive_and_kill(
    work: str, out: Path, process: str, *, kills: int, progress: Callable[[], int]
) -> dict[str, int]:
    """Run a driver to its end and kill meanwhile, now and then the driver; return who died."""
    import ray

    random, died = np.random.default_rng(0), {"driver": 0, process: 0, "gave up": 0}
    command = [sys.executable, str(STAND_INS / "slow_ways.py"), work, str(out)]
    command.append(ray.get_runtime_context().gcs_address)
    reached = 0
    while True:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
            while driver.poll() is None:
                left = died["driver"] + died[process] < kills
                if left and progress() >= reached + 3:
                    reached = progress()
                    if random.random() < 0.15:
                        driver.kill()
                        died["driver"] += 1
                    else:
                        died[process] += kill_worker(process)
                time.sleep(random.uniform(0.05, 0.5))
        if driver.returncode == 0:
            return died
        died["gave up"] += driver.returncode > 0


def assert_same_files(folder: Path, wanted: Path) -> None:
    files = [path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file()]
    assert len(files) > 5
    for file in set(files) - {Path(".lock"), Path("meta/recording.json")}:
        assert (folder / file).read_bytes() == (wanted / file).read_bytes(), file


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_seventy_kills_of_an_evaluation(
    cluster: Any, slow_ways: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "cluster/episodes.jsonl"

    def progress() -> int:
        return len(journal.read_bytes().splitlines()) if journal.exists() else 0

    died = drive_and_kill("evaluate", journal.parent, "_Actor", kills=70, progress=progress)
    assert died["driver"] + died["_Actor"] == 70, died
    assert died["driver"] > 3
    wanted = slow_ways.evaluation(tmp_path / "local", "two-ways", None)
    found = json.loads((journal.parent / "results.json").read_text())
    assert [tuple(episode) for episode in found["episodes"]] == wanted.episodes
    lines = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert sorted(line["seed"] for line in lines) == list(range(1_000_000, 1_001_000))
    assert_same_files(journal.parent / "actions", tmp_path / "local/actions")


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_thirty_kills_of_a_recording(
    cluster: Any, slow_ways: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cluster"

    def progress() -> int:
        return len(list(out.glob(".pending/*"))) + 1000 * len(list(out.glob("data/**/*.parquet")))

    died = drive_and_kill("record", out, "_run", kills=30, progress=progress)
    assert died["driver"] + died["_run"] == 30, died
    assert died["driver"] > 1
    slow_ways.recording(tmp_path / "local", "two-ways", None)
    assert_same_files(out, tmp_path / "local")
