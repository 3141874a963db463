"""Comparisons: every training once, resumed and shared; the sampler chooses within ranges."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
import pytest
import torch
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool
from torch import nn

from eyehand.cli import main
from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.registry import describe_policy
from eyehand.recipes.bcz_metaworld import bcz_metaworld
from eyehand.runs import compare as compare_module
from eyehand.runs import trial as trial_module
from eyehand.runs.axis import cells_of, parse_axis
from eyehand.runs.compare import CompareConfig, compare
from eyehand.runs.comparisons import COMPARISONS
from eyehand.runs.train import TrainingRun
from eyehand.runs.trial import Trial, check_trial
from eyehand.types import InputError

RECIPE = bcz_metaworld()


@dataclass
class Calls:
    """What fakes were asked."""

    trained: list[tuple[str, TrainingRun]]
    measured: list[EvalConfig]


def open_storage(folder: Path) -> optuna.storages.RDBStorage:
    """Open the database of a comparison; no connection is kept, which nothing would close."""
    settings = {"poolclass": NullPool}
    return optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", engine_kwargs=settings)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with Optuna's tables and nothing in them: making them takes a second."""
    folder = tmp_path_factory.mktemp("optuna")
    open_storage(folder)
    return folder / "study.db"


@pytest.fixture
def out(tmp_path: Path, tables: Path) -> Path:
    """A folder for a comparison."""
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copy(tables, folder)
    return folder


def horizons(calls: Calls) -> list[int]:
    """Return the horizons of all trainings, in order."""
    return [run.policy.horizon for _, run in calls.trained]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace everything that costs time; success grows with the horizon."""
    calls = Calls([], [])

    def fake_train(run: TrainingRun, data: Any, out: Path, **rest: Any) -> Any:
        calls.trained.append((out.name, run))
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps({"policy": describe_policy(run.policy)}))
        (out / "model.safetensors").touch()
        if rest["watch"]:
            for progress in (0.5, 1.0):
                rest["watch"](progress, 1 / run.policy.horizon)
        return SimpleNamespace(steps=10, seconds=2.0, final_loss=0.5)

    def fake_measure(folder: Path, config: EvalConfig) -> Any:
        calls.measured.append(config)
        run = next(run for name, run in calls.trained if name in folder.parts)
        wins = run.policy.horizon
        return SimpleNamespace(episodes=[("reach", seed, seed < wins, 9) for seed in range(20)])

    monkeypatch.setattr(compare_module, "record", lambda config: None)
    monkeypatch.setattr(trial_module, "run_training", fake_train)
    monkeypatch.setattr(trial_module, "measure", fake_measure)
    monkeypatch.setattr(trial_module, "open_store", lambda *_, **__: None)
    monkeypatch.setattr(trial_module, "_observations", lambda *_: [])
    monkeypatch.setattr(
        trial_module, "measure_latency", lambda *_: SimpleNamespace(median_ms=1.0, p99_ms=2.0)
    )
    monkeypatch.setattr(trial_module, "passes_per_call", lambda *_: 1.0)
    policy = nn.Linear(2, 3)
    monkeypatch.setattr(
        trial_module,
        "load_policy",
        lambda _: SimpleNamespace(
            config=SimpleNamespace(image_size=96),
            stages=lambda: SimpleNamespace(act=None),
            reset=lambda _: None,
            parameters=policy.parameters,
        ),
    )
    return calls


def test_every_training_once_and_every_execution_of_it(out: Path, calls: Calls) -> None:
    axes = ["policy.horizon=4,16", "execution.steps=1,4"]
    config = CompareConfig(out, minutes=0.5)
    compare(axes, config, RECIPE)
    assert str(out / "study.db") not in [file.path for file in psutil.Process().open_files()]
    assert [name for name, _ in calls.trained] == ["run,policy.horizon=4", "run,policy.horizon=16"]
    assert horizons(calls) == [4, 16]
    assert {run.training.minutes for _, run in calls.trained} == {0.5}
    assert [(config.execution.steps, config.seed) for config in calls.measured] == [
        (1, 1_000_000), (4, 1_000_000), (1, 1_000_000), (4, 1_000_000),
    ]  # fmt: skip
    assert len({config.out for config in calls.measured}) == 4
    text = (out / "comparison.md").read_text()
    assert "| 16 | 1 | 80.0 % |" in text
    assert "policy.horizon=16, execution.steps=1 over policy.horizon=4, execution.steps=1" in text
    (runs,) = json.loads((out / "comparison.json").read_text()).values()
    assert [run["changes"]["policy.horizon"] for run in runs] == ["4", "4", "16", "16"]
    assert (out / "comparison.svg").read_text().count("<circle") == 4

    compare(axes, config, RECIPE)
    assert horizons(calls) == [4, 16]  # what is done is not done again
    compare(["policy.horizon=4,8"], config, RECIPE)  # with four executed actions, as ever
    assert horizons(calls) == [4, 16, 8]  # what is new is added
    with pytest.raises(InputError, match=r"holds a comparison with minutes 0\.5, not 2\.0"):
        compare(axes, CompareConfig(out, minutes=2.0), RECIPE)


def test_what_was_interrupted_or_failed_is_done_again_by_the_next_command(
    out: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trial_module.run_training

    def failing(run: TrainingRun, *rest: Any, **named: Any) -> Any:
        if run.policy.horizon == 4:
            raise InputError("the loss is nan at step 3.")
        return train(run, *rest, **named)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    axes, config = ["policy.horizon=4,8"], CompareConfig(out)
    with monkeypatch.context() as during:
        during.setattr(trial_module, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(axes, config, RECIPE)
    assert horizons(calls) == [4]
    with monkeypatch.context() as during:
        during.setattr(trial_module, "run_training", failing)
        with pytest.raises(InputError, match=r"1 of the .*policy\.horizon=4: the loss is"):
            compare(axes, config, RECIPE)
    assert horizons(calls) == [4, 8]  # the other one was done
    assert "| 8 |" in (out / "comparison.md").read_text()
    compare(axes, config, RECIPE)
    assert horizons(calls) == [4, 8, 4]


def test_what_another_machine_does_is_left_to_it_until_it_is_dead(
    out: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both saw that 8 is missing: the second one to ask steps back, and so do we."""
    config = CompareConfig(out)
    compare(["policy.horizon=4"], config, RECIPE)
    capsys.readouterr()
    study = optuna.load_study(study_name=out.name, storage=open_storage(out))
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={"training": {"policy.horizon": "8"}})
    running = study.ask()
    study.ask()  # takes the second out of the queue and asks for nothing, as after a lost race
    study.enqueue_trial({}, user_attrs={"training": {"policy.horizon": "8"}})
    axes = ["policy.horizon=4,8,16"]
    compare(axes, config, RECIPE)
    assert horizons(calls) == [4, 16]
    assert "running elsewhere" in capsys.readouterr().out

    study._storage.record_heartbeat(running._trial_id)  # type: ignore[attr-defined]
    with closing(sqlite3.connect(out / "study.db")) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'")
    compare(axes, config, RECIPE)
    assert study.trials[running.number].state == TrialState.FAIL


@pytest.mark.parametrize(
    ("axes", "settings", "said"),
    [
        (["policy.head=lstm", "policy.history=1"], {}, "'lstm' reads a history"),
        (["policy.head=bins", "policy.head.bins=1"], {}, "bins must be 2 to 65,536; got 1"),
        (["policy.horizon=1"], {}, "execution.steps=4 is more than the 1 actions of a chunk"),
        (["policy.head=gpt", "execution.steps=1"], {}, "history-stride=4 steps apart"),
        (["training.learning-rate=1e-4..1e-2"], {}, "--trials"),
        (["policy.horizon=4,8"], {"trials": 2}, "10000 to 19999"),
        (["policy.head=mlp,flow"], {"trials": 2, "seed": 10_000, "prune": True}, "--prune"),
        (["policy.horizon=4"], {"seed": 5}, "start states of training"),
        (["policy.horizon=4"], {"tasks": "reech"}, "reach"),
    ],
)
def test_what_makes_no_comparison_is_refused_before_anything_is_trained(
    axes: list[str], settings: dict[str, Any], said: str, tmp_path: Path, calls: Calls
) -> None:
    with pytest.raises(InputError, match=said):
        compare(axes, CompareConfig(tmp_path / "out", **settings), RECIPE)
    assert calls.trained == []
    assert not (tmp_path / "out" / "study.db").exists()


def test_a_search_samples_within_the_range_and_goes_on(out: Path, calls: Calls) -> None:
    axes = ["training.learning-rate=1e-4..1e-2", "policy.horizon=4..16"]
    for _ in range(2):
        compare(axes, CompareConfig(out, seed=10_000, trials=2), RECIPE)
    assert len(calls.trained) == 2
    compare(axes, CompareConfig(out, seed=10_000, trials=3), RECIPE)
    rates = [run.training.learning_rate for _, run in calls.trained]
    assert len(set(rates)) == 3  # a command that goes on does not draw the first values again
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert all(4 <= horizon <= 16 for horizon in horizons(calls))
    text = (out / "comparison.md").read_text()
    assert "3 trainings were finished, 0 were ended early" in text


def test_a_training_worse_than_the_median_is_ended(out: Path, calls: Calls) -> None:
    """The fakes' loss falls with the horizon; the median needs five finished trainings."""
    axes = ["policy.horizon=4..16"]
    study = optuna.create_study(
        study_name=out.name, storage=open_storage(out), direction="maximize"
    )
    study.enqueue_trial({"policy.horizon": 16})
    compare(axes, CompareConfig(out, seed=10_000, trials=1, prune=True), RECIPE)
    for _ in range(4):
        study.add_trial(study.trials[0])
    study.enqueue_trial({"policy.horizon": 4})
    compare(axes, CompareConfig(out, seed=10_000, trials=6, prune=True), RECIPE)
    assert (horizons(calls), len(calls.measured)) == ([16, 4], 1)
    text = (out / "comparison.md").read_text()
    assert "5 trainings were finished, 1 were ended early" in text


def test_tables_share_trainings_by_what_they_make(
    out: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own head and horizon change nothing; steps of a head need no training."""
    tables = {
        "Heads": ("policy.head=mlp,flow",),
        "Horizons": ("policy.horizon=16",),
        "Executed": ("policy.head=mlp", "execution.steps=4,8"),
        "Euler steps": ("policy.head=flow", "policy.head.steps=2,10"),
    }
    monkeypatch.setitem(COMPARISONS, "small", tables)
    compare(["small"], CompareConfig(out), RECIPE)
    assert [name for name, _ in calls.trained] == ["run,policy.head=mlp", "run,policy.head=flow"]
    assert len(calls.measured) == 2 + 2
    text = (out / "comparison.md").read_text()
    assert all(f"## {title}" in text for title in tables)
    assert "one frame, or a window of them" in text  # heads with memory stand beside those without


def test_named_comparisons_make_runs() -> None:
    heads: dict[str, set[str]] = {}
    for name, tables in COMPARISONS.items():
        for axes in tables.values():
            for cell in cells_of([parse_axis(axis) for axis in axes]):
                head = check_trial(Trial(RECIPE), cell).run.policy.head.name
                heads.setdefault(name, set()).add(head)
    assert len(heads["heads"]) == 9
    assert heads["chains"] == {"mlp", "mlp_history", "gpt", "lstm"}


def test_heads_are_compared_on_the_same_encoder() -> None:
    """The same seed gives every head's policy the same first weights before the head."""
    from eyehand.policies.bcz import BCZ, BCZConfig
    from eyehand.policies.heads.flow import FlowHeadConfig
    from eyehand.policies.normalization import blank_statistics

    policies = []
    for config in (BCZConfig(), BCZConfig(head=FlowHeadConfig())):
        torch.manual_seed(0)
        policies.append(BCZ(config, statistics=blank_statistics(state_dim=4, action_dim=4)))
    states = [policy.state_dict() for policy in policies]
    shared = [name for name in states[0] if not name.startswith("head.")]
    assert len(shared) > 10
    assert all(torch.equal(states[0][name], states[1][name]) for name in shared)


@pytest.mark.slow
def test_the_command_goes_all_the_way_with_one_training_for_all_steps_of_a_head(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = (
        f"compare policy.head=flow policy.head.steps=1,10 --tasks reach --minutes 0.02 "
        f"--demonstrations 2 --episodes 1 --workers 1 --out {out}"
    )
    assert main(command.split()) == 0
    (folder,) = (out / "runs").iterdir()
    weights = {file.read_bytes() for file in folder.rglob("model.safetensors")}
    assert len(weights) == 1
    (runs,) = json.loads((out / "comparison.json").read_text()).values()
    passes = {run["changes"]["policy.head.steps"]: run["passes"] for run in runs}
    assert passes == {"1": 1.0, "10": 10.0}
    results = [json.loads(file.read_text()) for file in folder.rglob("results.json")]
    assert len({one["checkpoint_sha256"] for one in results}) == 2
