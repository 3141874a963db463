"""A recipe trains on a data set, and two steps and two more equal four."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from eyehand.checksums import read_json, write_json
from eyehand.data.columns import landmark_columns
from eyehand.data.lerobot import Dataset
from eyehand.data.windows import WindowLoader
from eyehand.data.writer import DatasetWriter
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.contract import PolicyConfig, PolicyModule, Stages
from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.normalization import Normalization
from eyehand.policies.registry import POLICIES, load_policy
from eyehand.recipes import RECIPES, find_recipe
from eyehand.runs import train as run_module
from eyehand.runs.train import TrainingRun, run_training
from eyehand.runs.trial import Trial, choose_parts, override
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import Batch, Episode, InputError, Observation, Statistics


def make_data(
    folder: Path, first: int = 0, *, scale: float = 1.0, points: tuple[str, ...] = ()
) -> Path:
    """Three short episodes of noise, from a camera and a robot that no recipe names."""
    random = np.random.default_rng(first)
    with DatasetWriter(
        folder,
        fps=10,
        image_shapes={"front": (32, 32)},
        state_dim=7,
        action_dim=5,
        robot="toy",
        columns=landmark_columns(points),
    ) as writer:
        for seed in range(first, first + 3):
            place = random.uniform(-1, 1, (9, len(points), 3)).astype(np.float32)
            writer.add(
                Episode(
                    image={"front": random.integers(0, 255, (9, 32, 32, 3), np.uint8)},
                    state=scale * random.standard_normal((9, 7)).astype(np.float32),
                    action=random.uniform(-1, 1, (9, 5)).astype(np.float32),
                    instruction="Touch the block",
                    task="toy",
                    seed=seed,
                    landmarks=place if points else None,
                )
            )
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


def tiny(steps: int, **changes: Any) -> TrainingRun:
    sizes = {"image_size": 32, "dims": (8, 8, 8), "context_dim": 8, "keypoints": 4, "map_dim": 4}
    policy = BCZConfig(**(sizes | changes))
    return TrainingRun(policy, TrainConfig(steps=steps, checkpoint_steps=1), batch_size=4)


def test_killed_after_two_steps_and_resumed_equals_four_in_one_go(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(tiny(4), [data], tmp_path / "whole", resume=False)

    def two(loader: WindowLoader, start_step: int = 0) -> Iterator[Batch]:
        yield loader.batch(0)
        yield loader.batch(1)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(WindowLoader, "batches", two)
        with pytest.raises(RuntimeError, match="killed"):
            run_training(tiny(4), [data], tmp_path / "parts", resume=False)
    run_training(tiny(4), [data], tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_dimensions_and_cameras_are_read_off_the_data(data: Path, tmp_path: Path) -> None:
    run_training(tiny(1), [data], tmp_path / "out", resume=False)
    text = (tmp_path / "out" / "config.json").read_text()
    assert '"front"' in text
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert any(tensor.shape == (7,) for tensor in weights.values()), "statistics of the state"


def test_statistics_are_those_of_all_data_sets(data: Path, tmp_path: Path) -> None:
    more = make_data(tmp_path / "more", 10, scale=5.0)
    run_training(tiny(1), [data, more], tmp_path / "out", resume=False)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    state, action = (
        np.concatenate([getattr(Dataset(folder).frames, name) for folder in (data, more)])
        for name in ("state", "action")
    )
    np.testing.assert_allclose(weights["units.state_mean"], state.mean(axis=0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(weights["units.state_std"], state.std(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(weights["units.action_maximum"], action.max(axis=0))
    alone = Dataset(data).frames.state.std(axis=0)
    assert (weights["units.state_std"].numpy() > 1.5 * alone).all()


@pytest.mark.parametrize("resume", [False, True])
def test_a_data_set_is_no_folder_for_a_run(
    data: Path, tmp_path: Path, resume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before the data is decoded, and nothing is written."""
    monkeypatch.setattr(run_module, "open_store", lambda *_, **__: pytest.fail("decoded"))
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with pytest.raises(InputError, match=rf"--out: {data} holds data and no run; name a new"):
        run_training(tiny(1), [data], data, resume=resume)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_batches_come_from_all_data_sets(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders = []

    def keep(policy: object, batches: Any, **_: object) -> TrainResult:
        loaders.append(batches.__self__)
        return TrainResult(0, 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(run_module, "train", keep)
    more = make_data(tmp_path / "more", 10, scale=5.0)
    run_training(replace(tiny(1), batch_size=54), [data, more], tmp_path / "out", resume=False)
    (loader,) = loaders
    assert len(loader.store) == 54
    found = np.sort(loader.batch(0).state[:, -1, 0].numpy())
    want = np.concatenate([Dataset(folder).frames.state[:, 0] for folder in (data, more)])
    np.testing.assert_array_equal(found, np.sort(want))


def test_landmarks_are_taught_where_the_data_has_them(data: Path, tmp_path: Path) -> None:
    points = make_data(tmp_path / "points", points=("hand", "goal"))
    run_training(tiny(1), [points], tmp_path / "with", resume=False)
    run_training(tiny(1, landmarks=3), [data], tmp_path / "without", resume=False)
    for name, count in (("with", 2), ("without", 0)):
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["policy"]["landmarks"] == count
        (line,) = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        assert ("landmark" in json.loads(line)) == (count > 0)
    with pytest.raises(InputError, match=r"'landmarks': 'float32 \[2, 3\]'\}\} and .*\{\}\}"):
        run_training(tiny(1), [points, data], tmp_path / "both", resume=False)


@pytest.fixture
def begun(data: Path, tmp_path: Path) -> Path:
    """A checkpoint of a tiny policy."""
    run_training(tiny(2), [data], tmp_path / "begun", resume=False)
    return tmp_path / "begun"


def test_initial_weights_are_what_the_run_begins_with(
    data: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every weight, and the statistics: those of the data that the run goes on with are others."""
    weights: list[dict[str, torch.Tensor]] = []

    def look(update: SupervisedUpdate, *_: object, **__: object) -> TrainResult:
        state = update.learner.network.state_dict()
        weights.append({name: value.clone() for name, value in state.items()})
        return TrainResult(0, 0.0, 0.0, 0.0, 0.0)

    more = make_data(tmp_path / "more", 10, scale=5.0)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train", look)
        run_training(tiny(2), [data, more], tmp_path / "on", resume=False, initial=begun)
        run_training(tiny(2), [data, more], tmp_path / "new", resume=False)
    on, new = weights
    want = load_policy(begun).state_dict()
    assert on.keys() == want.keys()
    assert all(torch.equal(on[name], want[name]) for name in want)
    assert not torch.equal(new["units.state_std"], want["units.state_std"])
    trained = [name for name in load_file(begun / "model.safetensors") if "units" not in name]
    assert sum(not torch.equal(new[name], want[name]) for name in trained) > len(trained) / 2


def test_a_run_with_initial_weights_says_so_and_resumes(
    data: Path, begun: Path, tmp_path: Path
) -> None:
    out = tmp_path / "on"
    run_training(tiny(1), [data], out, resume=False, initial=begun)
    assert json.loads((out / "config.json").read_text())["initial"] == str(begun)
    result = run_training(tiny(2), [data], out, resume=True, initial=begun)
    assert result.steps == 2
    with pytest.raises(InputError, match="initial"):
        run_training(tiny(3), [data], out, resume=True)


def test_a_run_that_an_older_version_began_goes_on(data: Path, begun: Path) -> None:
    path = begun / "config.json"
    description = read_json(path)
    del description["policy"]["gripper"]  # a field that has come since
    write_json(path, description)
    run = tiny(3)
    with pytest.raises(InputError, match="gripper"):
        run_training(
            replace(run, policy=replace(run.policy, gripper=2)), [data], begun, resume=True
        )
    assert run_training(run, [data], begun, resume=True).steps == 3


def test_initial_weights_of_another_policy_are_refused_in_one_sentence(
    data: Path, begun: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"begun is a policy with .*'keypoints': 4") as error:
        run_training(tiny(2, keypoints=5), [data], tmp_path / "on", resume=False, initial=begun)
    text = str(error.value)
    assert "the run trains one with" in text
    assert "'keypoints': 5" in text
    assert text.endswith(".")
    assert "\n" not in text
    assert not (tmp_path / "on").exists()
    with pytest.raises(InputError, match="nowhere is no checkpoint"):
        run_training(tiny(2), [data], tmp_path / "on", resume=False, initial=Path("nowhere"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_whole(name: str) -> None:
    run = find_recipe(name)
    assert run.training.minutes is not None


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(InputError, match="no recipe 'bcz-metawrld'"):
        find_recipe("bcz-metawrld")


def test_a_head_that_has_to_see_chunks_sees_those_of_the_data(data: Path, tmp_path: Path) -> None:
    """In units of the network; and what it learned from them goes on with the checkpoint."""
    run = tiny(1, head=BinsHeadConfig(tail=0.0, dim=8, heads=2, head_dim=4))
    run_training(run, [data], tmp_path / "out", resume=False)
    quantizer = load_policy(tmp_path / "out").head.quantizer  # type: ignore[union-attr]
    torch.testing.assert_close(quantizer.low, -torch.ones(5))
    torch.testing.assert_close(quantizer.high, torch.ones(5))
    further = replace(run, training=replace(run.training, steps=2))
    assert run_training(further, [data], tmp_path / "out", resume=True).steps == 2


def test_who_watches_is_told_how_far_it_is_and_can_end_it(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []

    def watch(progress: float, loss: float) -> None:
        seen.append((progress, loss))
        if progress > 0.5:
            raise TimeoutError

    run = tiny(4)
    run = replace(run, training=replace(run.training, log_every=1))
    with pytest.raises(TimeoutError):
        run_training(run, [data], tmp_path / "out", resume=False, watch=watch)
    assert [progress for progress, _ in seen] == [0.25, 0.5, 0.75]
    assert all(np.isfinite(loss) for _, loss in seen)


@dataclass(frozen=True)
class PlainConfig(PolicyConfig):
    """A policy without a head, and without memory or landmarks."""

    name: ClassVar[str] = "plain"
    scale: float = 1.0
    """A number of its own."""


class Plain(PolicyModule):
    """From the state to a chunk by one linear layer."""

    Config: ClassVar[type[PlainConfig]] = PlainConfig
    looks: ClassVar[str] = "saliency"
    config: PlainConfig

    def __init__(self, config: PlainConfig, *, statistics: Mapping[str, Statistics]) -> None:
        super().__init__()
        dims = {"state_dim": config.state_dim, "action_dim": config.action_dim}
        self.config, self.units = config, Normalization(statistics, **dims)
        self.layer = nn.Linear(config.state_dim, config.horizon * config.action_dim)

    def chunk(self, state: torch.Tensor) -> torch.Tensor:
        return self.layer(state).unflatten(-1, (self.config.horizon, self.config.action_dim))

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        error = self.chunk(batch.state) - self.units.normalize_action(batch.action)
        return {"loss": self.config.scale * (error.square() * batch.action_mask[..., None]).mean()}

    def act(self, observation: Observation, *, generator: torch.Generator | None = None) -> Any:
        return self.units.restore_action(self.chunk(observation.state))

    def look(self, observation: Observation, *, word: int | None = None) -> Any:
        raise NotImplementedError

    def reset(self, env_ids: Sequence[int]) -> None:
        pass

    def stages(self) -> Stages:
        return Stages(perceive=self.layer, act=self.layer)


def test_a_run_carries_any_registered_policy(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POLICIES, "plain", f"{__name__}:Plain")
    training = TrainConfig(steps=2, checkpoint_steps=1)
    run = TrainingRun(PlainConfig(image_size=32, horizon=3), training, batch_size=4)
    run = override(Trial(run), {"policy.scale": "0.5"}).run
    assert run_training(run, [data], tmp_path / "out", resume=False).steps == 2
    config = load_policy(tmp_path / "out").config
    assert config == PlainConfig(
        image_size=32, horizon=3, scale=0.5, cameras=("front",), state_dim=7, action_dim=5
    )
    with pytest.raises(InputError, match="plain has no head to choose; it got 'mlp'"):
        choose_parts(run, {"policy.head": "mlp"})


def test_a_robot_without_a_gripper_is_trained(data: Path, tmp_path: Path) -> None:
    run_training(tiny(1, gripper=0), [data], tmp_path / "out", resume=False)
    (line,) = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert "motion" in json.loads(line)
    assert "gripper" not in json.loads(line)
