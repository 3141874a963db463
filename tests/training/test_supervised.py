"""The update against a loop written out, in both precisions, and over several batches a step."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from eyehand.functional.schedule import warmup_cosine
from eyehand.training.config import TrainConfig
from eyehand.training.loop import train
from eyehand.training.supervised import SupervisedUpdate
from eyehand.training.update import check_update


def test_matches_a_loop_written_out(toy: ModuleType, tmp_path: Path) -> None:
    """Weights, averages and losses of a plain torch loop over the same batches."""
    settings = {"steps": 12, "precision": "fp32", "gradient_clip": 0.5, "weight_decay": 0.1}
    policy = {"dropout": 0.0}
    _, ours = toy.run_toy(tmp_path / "ours", policy=policy, log_every=1, **settings)

    torch.manual_seed(0)
    theirs = toy.ToyPolicy(**policy).train()
    trainable = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ],
        foreach=False,
    )
    average = [p.detach().clone() for p in trainable]
    expected = []
    batches = toy.toy_batches()(0)
    for step in range(12):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warmup_cosine((step + 0.5) / 12, warmup=0.05, final=0.0)
        optimizer.zero_grad()
        loss = theirs.loss(next(batches))["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 0.5)
        optimizer.step()
        decay = min(0.999, (2 + step) / (11 + step))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, trainable)]  # noqa: B905
        expected.append(loss.item())

    assert toy.losses(tmp_path / "ours") == pytest.approx(expected, rel=1e-5)
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), **close)
    published = load_file(tmp_path / "ours/model.safetensors")
    names = [name for name, p in theirs.named_parameters() if p.requires_grad]
    expected_average = dict(zip(names, average, strict=True))
    torch.testing.assert_close({name: published[name] for name in names}, expected_average, **close)


def test_autocast_computes_in_bf16(toy: ModuleType, tmp_path: Path) -> None:
    seen = set()
    for precision in ("bf16", "fp32"):
        folder = tmp_path / precision
        toy.run_toy(folder, steps=1, precision=precision, policy={"dropout": 0.0})
        seen.add(toy.losses(folder)[0])
        assert {tensor.dtype for tensor in toy.tensors(folder).values()} <= {
            torch.float32,
            torch.int64,
        }
    a, b = seen
    assert a == pytest.approx(b, rel=0.05)
    assert a != b


@pytest.mark.parametrize("accumulate", [1, 2])
def test_keeps_the_contract(toy: ModuleType, accumulate: int) -> None:
    def make() -> SupervisedUpdate:
        torch.manual_seed(0)
        return SupervisedUpdate(toy.ToyPolicy(), TrainConfig(steps=4, accumulate=accumulate))

    check_update(make, toy.toy_batches())


def test_two_batches_a_step_are_one_of_both(toy: ModuleType, tmp_path: Path) -> None:
    """The gradient of the mean over both; each line of metrics is the mean of their losses."""

    def halves(start: int) -> Iterator[object]:
        for step, batch in enumerate(toy.toy_batches()(start // 2), start // 2):
            half = toy.GLOBAL_BATCH // 2
            first = start % 2 if step == start // 2 else 0
            for rows in (slice(0, half), slice(half, None))[first:]:
                yield toy.ToyBatch(batch.image[rows], batch.action[rows])

    found = {}
    for accumulate, batches in ((1, toy.toy_batches()), (2, halves)):
        config = TrainConfig(
            steps=3, precision="fp32", log_every=1, accumulate=accumulate, learning_rate=0.01
        )
        torch.manual_seed(0)
        module = toy.ToyPolicy(dropout=0.0, norm=False)
        folder = tmp_path / str(accumulate)
        train(
            SupervisedUpdate(module, config), batches, config=config, folder=folder, description={}
        )
        found[accumulate] = module.state_dict(), toy.losses(folder)
    torch.testing.assert_close(found[2][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert found[2][1] == pytest.approx(found[1][1], rel=1e-5)
