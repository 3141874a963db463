"""The stages of MT50: in their order by fakes, and once for real, as small as it goes."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from eyehand.collection.record import RecordConfig
from eyehand.data.lerobot import Dataset
from eyehand.evaluation import protocol
from eyehand.evaluation.probes import probes_of
from eyehand.evaluation.protocol import EvalConfig
from eyehand.policies.bcz import BCZConfig
from eyehand.recipes.bcz_mt50 import bcz_mt50
from eyehand.recipes.mt50 import mt50, mt50_corner4
from eyehand.runs import reproduce as reproduce_module
from eyehand.runs.reproduce import ReproduceConfig, reproduce
from eyehand.runs.train import TrainingRun
from eyehand.training.config import TrainConfig


def test_the_stages_and_what_each_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[Any, ...]] = []

    def fake_record(config: RecordConfig, make_policy: Any) -> None:
        stages.append(("record", config, make_policy))

    def fake_train(run: TrainingRun, data: list[Path], out: Path, **rest: Any) -> None:
        stages.append(("train", run, list(data), out, rest))

    def fake_measure(checkpoint: Path, config: EvalConfig) -> None:
        stages.append(("measure", checkpoint, config))

    monkeypatch.setattr(reproduce_module, "record", fake_record)
    monkeypatch.setattr(reproduce_module, "run_training", fake_train)
    monkeypatch.setattr(reproduce_module, "measure", fake_measure)
    monkeypatch.setattr(reproduce_module, "load_policy", lambda folder: f"policy of {folder.name}")
    config = replace(mt50().stages, out=tmp_path, tasks="hard", minutes=(3.0, 2.0, 1.0), workers=1)
    config = replace(config, training_seed=5)
    run = bcz_mt50()
    reproduce(config, run)
    assert [stage[0] for stage in stages] == ["record", "train"] * 3 + ["measure"] * 2
    records = [stage[1:] for stage in stages if stage[0] == "record"]
    trainings = [stage[1:] for stage in stages if stage[0] == "train"]
    measured = [stage[1:] for stage in stages if stage[0] == "measure"]
    folders = [tmp_path / name for name in ("demonstrations", "corrections-1", "corrections-2")]
    policies = [None, tmp_path / "policy-0", tmp_path / "policy-1", tmp_path / "policy-2"]
    for number, (recording, make_policy) in enumerate(records):
        assert recording.out == folders[number]
        assert recording.policy == policies[number]
        loaded = make_policy() if make_policy else None
        assert loaded == (f"policy of policy-{number - 1}" if number else None)
        assert recording.episodes == 50
        assert (recording.tasks, recording.cameras) == ("hard", ("work_area",))
        assert recording.perturbation > 0
    seeds = [range(recording.seed, recording.seed + recording.attempts) for recording, _ in records]
    assert all(one.stop <= two.start for one, two in pairwise(seeds))
    for number, (trained, data, out, rest) in enumerate(trainings):
        minutes = replace(run.training, minutes=config.minutes[number], seed=5)
        assert trained == replace(run, training=minutes)
        assert data == folders[: number + 1]
        assert out == policies[number + 1]
        assert rest == {"resume": True, "initial": policies[number]}
    assert [checkpoint for checkpoint, _ in measured] == [policies[1], policies[3]]
    assert [evaluation.probe for _, evaluation in measured] == [False, True]
    assert len({evaluation.out for _, evaluation in measured}) == 2
    for _, evaluation in measured:
        assert evaluation.tasks == "hard"
        assert (evaluation.episodes, evaluation.probe_episodes) == (20, 5)
        assert evaluation.seed == 2_000_000
    stages.clear()
    recipe = mt50_corner4()  # without corrections: one policy, measured once, with controls
    reproduce(replace(recipe.stages, out=tmp_path / "corner4"), recipe.run)
    assert [kind for kind, *_ in stages] == ["record", "train", "measure"]
    assert stages[0][1].cameras == recipe.run.policy.cameras == ("corner4",)
    assert stages[-1][2].probe


def test_every_default_seed_is_a_training_seed() -> None:
    """Refused by the recording otherwise, after an hour of training."""
    config = mt50().stages
    for number in range(len(config.minutes)):
        RecordConfig(
            out=config.out,
            tasks=config.tasks,
            seed=1000 * number,
            episodes=config.demonstrations,
            policy=Path("some") if number else None,
        )


def contents(folder: Path) -> dict[str, str]:
    """Everything that was recorded, learnt or found; not when, nor by which command."""
    kinds = (".mp4", ".parquet", ".safetensors", ".jsonl", ".npy")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in kinds
    }


def test_all_of_it_for_real_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "probes_of", lambda suite: probes_of(suite)[-1:])
    monkeypatch.setattr(protocol, "make_films", lambda *_: [])
    policy = BCZConfig(
        cameras=("work_area",), dims=(8, 8, 8), context_dim=8, keypoints=4, map_dim=4
    )
    run = TrainingRun(policy, TrainConfig(minutes=1.0), batch_size=8, random_shift=1)
    config = ReproduceConfig(
        tmp_path,
        suite="metaworld",
        cameras=("work_area",),
        perturbation=0.4,
        tasks="drawer-close",
        demonstrations=2,
        corrections=2,
        minutes=(0.005, 0.005),
        episodes=1,
        probe_episodes=1,
        workers=1,
    )
    reproduce(config, run)
    demonstrations = Dataset(tmp_path / "demonstrations")
    assert list(demonstrations.cameras) == ["work_area"]
    assert demonstrations.columns["landmarks"].shape == (4, 3)
    rows = [(row.task, row.seed) for row in demonstrations.episodes]
    assert rows == [("drawer-close", 0), ("drawer-close", 1)]
    corrections = {(r.task, r.seed) for r in Dataset(tmp_path / "corrections-1").episodes}
    assert corrections
    assert corrections <= {("drawer-close", 1000), ("drawer-close", 1001)}
    trained = json.loads((tmp_path / "policy-1" / "config.json").read_text())
    assert trained["initial"] == str(tmp_path / "policy-0")
    assert trained["policy"]["landmarks"] == 4
    before = contents(tmp_path)
    results = {
        name: json.loads((tmp_path / f"evaluation-{name}" / "results.json").read_text())
        for name in ("policy-0", "policy-1")
    }
    assert [list(found["probes"]) for found in results.values()] == [[], ["light at 60 %"]]
    for found in results.values():
        assert found["observation"]["camera"] == "work_area"
        assert list(found["tasks"]) == ["drawer-close"]

    def again(*_: object, **__: object) -> None:
        raise AssertionError("done already")

    monkeypatch.setattr(protocol, "rollout", again)
    monkeypatch.setattr("eyehand.training.supervised.SupervisedUpdate.step", again)
    monkeypatch.setattr("eyehand.data.store._build", again)
    reproduce(config, run)
    assert contents(tmp_path) == before
