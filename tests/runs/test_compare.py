"""Comparisons: every training once, resumed and shared; the sampler chooses within ranges."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from eyehand.cli import main
from eyehand.evaluation.protocol import EvalConfig
from eyehand.recipes.bcz_metaworld import bcz_metaworld
from eyehand.runs import compare as compare_module
from eyehand.runs import trial as trial_module
from eyehand.runs.axis import Axis, cells_of, parse_axis
from eyehand.runs.compare import COMPARISONS, CompareConfig, compare
from eyehand.runs.train import TrainingRun
from eyehand.types import InputError

RECIPE = bcz_metaworld()


@dataclass
class Calls:
    """What fakes were asked."""

    trained: list[tuple[str, TrainingRun]]
    measured: list[EvalConfig]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace everything that costs time; success grows with the horizon."""
    calls = Calls([], [])

    def fake_train(run: TrainingRun, data: Any, out: Path, **rest: Any) -> Any:
        calls.trained.append((out.name, run))
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text('{"policy": {}}')
        (out / "model.safetensors").touch()
        if rest["watch"]:
            for percent in range(101):
                rest["watch"](percent / 100, 1 / run.policy.horizon)
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
            get_submodule=lambda _: None,
            reset=lambda _: None,
            parameters=policy.parameters,
        ),
    )
    return calls


def test_axes_are_read_and_combined() -> None:
    assert parse_axis("a.b=1,x") == Axis("a.b", ("1", "x"))
    assert parse_axis("a=1e-4..1e-2") == Axis("a", low=1e-4, high=1e-2)
    assert len(cells_of([Axis("a", ("1", "2")), Axis("b", ("3", "4", "5"))])) == 6


@pytest.mark.parametrize("text", ["heads", "=1", "a=", "a=1..x", "a=2..1", "a=-1..1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_axis(text)


def test_every_training_once_and_every_execution_of_it(tmp_path: Path, calls: Calls) -> None:
    axes = ["policy.horizon=4,16", "execution.steps=1,4"]
    compare(axes, CompareConfig(tmp_path / "out", minutes=0.5), RECIPE)
    assert [name for name, _ in calls.trained] == ["run,policy.horizon=4", "run,policy.horizon=16"]
    assert [run.policy.horizon for _, run in calls.trained] == [4, 16]
    assert {run.training.minutes for _, run in calls.trained} == {0.5}
    assert [(config.execution.steps, config.seed) for config in calls.measured] == [
        (1, 1_000_000), (4, 1_000_000), (1, 1_000_000), (4, 1_000_000),
    ]  # fmt: skip
    assert len({config.out for config in calls.measured}) == 4
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| 16 | 1 | 80.0 % |" in text
    assert "policy.horizon=16, execution.steps=1 over policy.horizon=4, execution.steps=1" in text
    (runs,) = json.loads((tmp_path / "out" / "comparison.json").read_text()).values()
    assert [run["changes"]["policy.horizon"] for run in runs] == ["4", "4", "16", "16"]
    assert (tmp_path / "out" / "comparison.svg").read_text().count("<circle") == 4


def test_what_is_done_is_not_done_again_and_what_is_new_is_added(
    tmp_path: Path, calls: Calls
) -> None:
    config = CompareConfig(tmp_path / "out")
    compare(["policy.horizon=4,8"], config, RECIPE)
    compare(["policy.horizon=4,8"], config, RECIPE)
    assert len(calls.trained) == 2
    compare(["policy.horizon=4,8,16"], config, RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [4, 8, 16]


def test_an_interrupted_training_is_begun_again(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(trial_module, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(["policy.horizon=4,8"], CompareConfig(tmp_path / "out"), RECIPE)
    compare(["policy.horizon=4,8"], CompareConfig(tmp_path / "out"), RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [4, 4, 8]


def test_a_training_that_fails_does_not_stop_the_others(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trial_module.run_training

    def failing(run: TrainingRun, *rest: Any, **named: Any) -> Any:
        if run.policy.horizon == 4:
            raise InputError("the loss is nan at step 3.")
        return train(run, *rest, **named)

    config = CompareConfig(tmp_path / "out")
    with monkeypatch.context() as during:
        during.setattr(trial_module, "run_training", failing)
        with pytest.raises(InputError, match=r"1 of the .*policy\.horizon=4: the loss is"):
            compare(["policy.horizon=4,8"], config, RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [8]
    assert "| 8 |" in (tmp_path / "out" / "comparison.md").read_text()
    compare(["policy.horizon=4,8"], config, RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [8, 4]


def test_what_another_machine_does_is_left_to_it(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    compare(["policy.horizon=4"], CompareConfig(out), RECIPE)
    study = optuna.load_study(study_name="out", storage=f"sqlite:///{out / 'study.db'}")
    study.enqueue_trial({}, user_attrs={"training": {"policy.horizon": "8"}})
    study.ask()
    compare(["policy.horizon=4,8,16"], CompareConfig(out), RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [4, 16]
    said = " ".join(capsys.readouterr().out.split())
    assert "1 trainings are under way elsewhere" in said


def test_two_machines_that_begin_at_once_do_not_train_the_same(
    tmp_path: Path, calls: Calls
) -> None:
    """Both saw that it is missing: the second one to ask steps back."""
    out = tmp_path / "out"
    compare(["policy.horizon=4"], CompareConfig(out), RECIPE)
    study = optuna.load_study(study_name="out", storage=f"sqlite:///{out / 'study.db'}")
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={"training": {"policy.horizon": "8"}})
    study.ask()
    compare(["policy.horizon=4,16"], CompareConfig(out), RECIPE)
    assert [run.policy.horizon for _, run in calls.trained] == [4, 16]


@pytest.mark.parametrize(
    ("axes", "settings", "said"),
    [
        (["policy.head=mlp,flwo"], {}, "no head 'flwo'"),
        (["policy.head=lstm", "policy.history=1"], {}, "'lstm' reads a history"),
        (["policy.head=bins", "policy.head.bins=1"], {}, "bins must be >= 2; got 1"),
        (["policy.head=fast", "policy.head.vocabulary=8"], {}, "vocabulary must be above"),
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


def test_another_comparison_in_the_same_folder_is_refused(tmp_path: Path, calls: Calls) -> None:
    compare(["policy.horizon=4"], CompareConfig(tmp_path / "out", minutes=1.0), RECIPE)
    with pytest.raises(InputError, match=r"holds a comparison with minutes 1\.0, not 2\.0"):
        compare(["policy.horizon=4"], CompareConfig(tmp_path / "out", minutes=2.0), RECIPE)


def test_a_search_samples_within_the_range_and_goes_on(tmp_path: Path, calls: Calls) -> None:
    axes = ["training.learning-rate=1e-4..1e-2", "policy.horizon=4..16"]
    config = CompareConfig(tmp_path / "out", seed=10_000, trials=3)
    compare(axes, config, RECIPE)
    compare(axes, config, RECIPE)
    assert len(calls.trained) == 3
    rates = [run.training.learning_rate for _, run in calls.trained]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert all(4 <= run.policy.horizon <= 16 for _, run in calls.trained)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "3 trainings to the end, 0 ended early" in text
    compare(axes, CompareConfig(tmp_path / "out", seed=10_000, trials=5), RECIPE)
    assert len(calls.trained) == 5


def test_a_training_worse_than_the_median_is_ended(tmp_path: Path, calls: Calls) -> None:
    """The fakes' loss falls with the horizon, so late trials with a short one are pruned."""
    config = CompareConfig(tmp_path / "out", seed=10_000, trials=20, prune=True)
    compare(["policy.horizon=4..16"], config, RECIPE)
    assert len(calls.trained) == 20
    assert len(calls.measured) < 20
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert f"{len(calls.measured)} trainings to the end, {20 - len(calls.measured)} ended" in text


def test_named_comparisons_make_runs(tmp_path: Path, calls: Calls) -> None:
    compare(["heads"], CompareConfig(tmp_path / "out"), RECIPE)
    assert len(calls.trained) == 9 + 3
    heads = [run.policy.head.name for _, run in calls.trained]
    assert len(set(heads)) == 9
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert all(f"## {title}" in text for title in COMPARISONS["heads"])
    assert "one frame, or a window of them" in text  # heads with memory stand beside those without


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


def test_the_command_goes_all_the_way(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (
        f"compare policy.head=mlp,bins --tasks reach --minutes 0.02 "
        f"--demonstrations 2 --episodes 1 --workers 1 --out {out}"
    )
    assert main(command.split()) == 0
    text = (out / "comparison.md").read_text()
    assert "| bins |" in text
    assert "| mlp |" in text
    (runs,) = json.loads((out / "comparison.json").read_text()).values()
    passes = {run["changes"]["policy.head"]: run["passes"] for run in runs}
    assert passes == {"mlp": 1.0, "bins": 64.0}


def test_steps_of_a_head_that_denoises_share_one_training(tmp_path: Path) -> None:
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
