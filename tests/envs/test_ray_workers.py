"""One cluster of this machine serves all tests; who simulates, and who dies, may change nothing."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from eyehand.collection import record as recording
from eyehand.collection.record import RecordConfig, record
from eyehand.envs.execution import Execution
from eyehand.envs.ray_workers import RayExecutor, RayVectorEnv, connect
from eyehand.envs.rollout import Outcome, Start, rollout, rollout_chains
from eyehand.envs.slots import WorkerDeathError, WorkerError
from eyehand.envs.suite import find_suite
from eyehand.envs.two_ways import CAMERA, TASK, TWO_WAYS
from eyehand.types import InputError, Observation

STAND_INS = Path(__file__).parents[1] / "stand_ins"
STARTS = [Start(TASK, seed, "Go to the green disc") for seed in (3, 1, 4, 1, 5, 9)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that starts by itself, whose processes can import the stand-ins by name."""
    pytest.importorskip("ray", reason='needs Ray: pip install "eyehand[ray]"')
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


class Wanderer:
    """Random weights that react to the picture, the state and their own memory."""

    def __init__(self, before_acting: Callable[[int], object] = lambda call: None) -> None:
        random = torch.Generator().manual_seed(0)
        self.weights = torch.randn(16 * 16 * 3 + 2 + 1, 4 * 2, generator=random)
        self.before_acting, self.calls, self.memory = before_acting, 0, dict[int, int]()

    def reset(self, env_ids: Sequence[int]) -> None:
        self.memory |= dict.fromkeys(env_ids, 0)

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        self.calls += 1
        self.before_acting(self.calls)
        for env_id in observation.env_ids:
            self.memory[env_id] = self.memory.get(env_id, 0) + 1
        told = torch.tensor([[self.memory[env_id]] for env_id in observation.env_ids])
        seen = observation.image[CAMERA].flatten(1).float() / 255
        features = torch.cat([seen, observation.state, told], 1)
        return (
            (features @ self.weights / 50 + torch.tensor([0.0, 1.0] * 4))
            .tanh()
            .unflatten(1, (4, 2))
        )


def outcomes_of(policy: Wanderer, *, ray: str | None, workers: int = 2) -> list[Outcome]:
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
        outcomes_of(Wanderer(), ray="auto")


@pytest.mark.parametrize(
    ("workers", "deaths"), [(1, (4,)), pytest.param(2, (1, 4, 9), marks=pytest.mark.slow)]
)
def test_outcomes_are_those_of_local_workers_also_when_actors_die(
    cluster: Any, workers: int, deaths: Sequence[int]
) -> None:
    killed = []

    def kill(call: int) -> None:
        if call in deaths:
            killed.append(kill_worker("_Actor"))

    local = outcomes_of(Wanderer(), ray=None, workers=workers)
    assert len({outcome.steps for outcome in local}) > 1
    assert_same(outcomes_of(Wanderer(kill), ray="auto", workers=workers), local)
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
        outcomes_of(Wanderer(), ray="auto", workers=3)


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
def test_a_data_set_is_the_same(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(name: str, ray: str | None) -> RecordConfig:
        return RecordConfig(
            out=tmp_path / name, suite="two-ways", tasks="all", episodes=6, image_size=16, ray=ray
        )

    class Threads(ThreadPoolExecutor):
        def __init__(self, workers: int, context: object, **initializer: object) -> None:
            super().__init__(1)

    monkeypatch.setattr(recording, "ProcessPoolExecutor", Threads)
    result = record(settings("local", None))
    assert record(settings("cluster", "auto")) == result
    files = [path for path in (tmp_path / "local").rglob("*") if path.is_file()]
    assert len(files) > 5
    for file in files:
        there = tmp_path / "cluster" / file.relative_to(tmp_path / "local")
        assert there.read_bytes() == file.read_bytes(), file
