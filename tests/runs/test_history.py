"""A head with history learns from features of a policy that stays as it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eyehand.data.store import open_store
from eyehand.data.windows import WindowLoader
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.mlp_history import MLPHistoryHeadConfig
from eyehand.policies.registry import load_policy
from eyehand.runs.history import features_of, train_history, with_history
from eyehand.runs.train import TrainingRun, run_training
from eyehand.training.config import TrainConfig
from eyehand.types import Batch, InputError, Observation

SIZES = BCZConfig(
    image_size=32,
    dims=(8, 8, 8),
    context_dim=8,
    keypoints=4,
    map_dim=4,
    horizon=4,
    head=MLPHeadConfig(dims=(12,)),
)
TRAINING = TrainConfig(steps=30, learning_rate=1e-2)


@pytest.fixture(scope="module")
def checkpoint(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "policy"
    run_training(
        TrainingRun(SIZES, replace(TRAINING, steps=2), batch_size=4), [boxes], out, resume=False
    )
    return out


def frames(boxes: Path, numbers: list[int]) -> Observation:
    """Some frames of the data set, each of a robot of its own."""
    store = open_store(boxes, image_size=32)
    return Observation(
        image={
            "top": torch.stack([torch.from_numpy(store.image["top"][n].copy()) for n in numbers])
        },
        state=torch.from_numpy(store.state[numbers]),
        instruction=[store.sentences[store.sentence[n]] for n in numbers],
        env_ids=list(range(len(numbers))),
    )


@pytest.mark.parametrize(
    "head", [LSTMHeadConfig(dim=8, dims=(8,)), MLPHistoryHeadConfig(dims=(8,))]
)
def test_it_begins_as_the_policy_of_single_frames(
    checkpoint: Path, boxes: Path, head: object
) -> None:
    begun = load_policy(checkpoint)
    policy = with_history(begun, head, history=3, history_stride=2)
    for numbers in ([0, 12], [4, 20], [7, 31]):
        seen = frames(boxes, numbers)
        torch.testing.assert_close(policy.act(seen), begun.act(seen))


def test_features_are_those_that_the_head_acts_on(checkpoint: Path, boxes: Path) -> None:
    policy = load_policy(checkpoint)
    features = torch.from_numpy(features_of(policy, open_store(boxes, image_size=32)))
    assert len(features) == 58
    told = {
        "history_mask": torch.ones(2, 1, dtype=torch.bool),
        "seed": torch.zeros(2, dtype=torch.int64),
    }
    chunk = policy.head.act(features[[5, 40], None], **told)
    want = policy.act(frames(boxes, [5, 40]))
    torch.testing.assert_close(policy.units.restore_action(chunk), want, rtol=1e-4, atol=1e-5)


def learn(checkpoint: Path, boxes: Path, out: Path) -> dict[str, torch.Tensor]:
    """Train a head with history for 30 steps; return the policy's weights."""
    train_history(
        checkpoint, [boxes], out, head=LSTMHeadConfig(dim=8, dims=(8,)), history=3,
        history_stride=2, batch_size=8, training=replace(TRAINING, checkpoint_steps=1),
    )  # fmt: skip
    return load_policy(out).state_dict()


def test_only_the_head_learns(checkpoint: Path, boxes: Path, tmp_path: Path) -> None:
    learnt = learn(checkpoint, boxes, tmp_path)
    begun = load_policy(checkpoint).state_dict()
    same = {
        name for name, weight in begun.items() if torch.equal(weight, learnt.get(name, weight + 1))
    }
    assert same == {name for name in begun if not name.startswith("head.")}
    assert learnt["head.to_action.weight"].abs().max() > 1e-3
    assert load_policy(tmp_path).config.history_stride == 2


def test_a_run_that_was_killed_goes_on(
    checkpoint: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(loader: WindowLoader, start_step: int = 0) -> Iterator[Batch]:
        yield loader.batch(0)
        yield loader.batch(1)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(WindowLoader, "batches", two)
        with pytest.raises(RuntimeError, match="killed"):
            learn(checkpoint, boxes, tmp_path / "parts")
    parts = learn(checkpoint, boxes, tmp_path / "parts")
    whole = learn(checkpoint, boxes, tmp_path / "whole")
    assert all(torch.equal(weight, parts[name]) for name, weight in whole.items())


def test_a_policy_with_a_history_is_refused(boxes: Path, tmp_path: Path) -> None:
    run = TrainingRun(replace(SIZES, history=2), TrainConfig(steps=1), batch_size=4)
    run_training(run, [boxes], tmp_path / "policy", resume=False)
    with pytest.raises(InputError, match="of single frames; its windows have 2"):
        learn(tmp_path / "policy", boxes, tmp_path / "history")


def test_another_head_is_refused(boxes: Path, tmp_path: Path) -> None:
    sizes = replace(SIZES, head=FlowHeadConfig(dim=8))
    out = tmp_path / "policy"
    run_training(TrainingRun(sizes, TrainConfig(steps=1), batch_size=4), [boxes], out, resume=False)
    with pytest.raises(InputError, match="must be a policy with the head 'mlp'"):
        train_history(
            out, [boxes], tmp_path / "history", head=LSTMHeadConfig(), history=3, history_stride=2,
            training=TRAINING,
        )  # fmt: skip
