"""Whole runs of the toy policy: parity, resuming, failures, several processes."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eyehand.functional.schedule import warmup_cosine
from eyehand.training import loop
from eyehand.training.config import TrainConfig
from eyehand.types import InputError

CLOCK = ("seconds", "samples_per_second", "model_flops_utilisation", "memory")


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.jsonl without what depends on the clock."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name not in CLOCK} for line in lines]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics(folder)]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor that a run leaves: weights, averages, optimizer, published weights."""
    (state,) = (folder / "training_state").iterdir()
    published = load_file(folder / "model.safetensors")
    return {
        **load_file(state / "tensors.safetensors"),
        **{f"p/{n}": t for n, t in published.items()},
    }


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


# Parity --------------------------------------------------------------------------------------


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

    assert losses(tmp_path / "ours") == pytest.approx(expected, rel=1e-5)
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), **close)
    published = load_file(tmp_path / "ours/model.safetensors")
    names = [name for name, p in theirs.named_parameters() if p.requires_grad]
    expected_average = dict(zip(names, average, strict=True))
    torch.testing.assert_close({name: published[name] for name in names}, expected_average, **close)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_loss_falls(toy: ModuleType, tmp_path: Path, precision: str) -> None:
    result, _ = toy.run_toy(
        tmp_path, steps=60, log_every=10, learning_rate=0.02, precision=precision,
        checkpoint_steps=None,
    )  # fmt: skip
    curve = losses(tmp_path)
    assert len(curve) == 6
    assert curve[-1] < 0.3 * curve[0]
    assert result.steps == 60
    assert result.final_loss == curve[-1]
    assert result.samples_per_second > 0
    assert result.model_flops_utilisation > 0


def test_autocast_computes_in_bf16(toy: ModuleType, tmp_path: Path) -> None:
    seen = set()
    for precision in ("bf16", "fp32"):
        folder = tmp_path / precision
        toy.run_toy(folder, steps=1, precision=precision, policy={"dropout": 0.0})
        seen.add(losses(folder)[0])
        assert {tensor.dtype for tensor in tensors(folder).values()} <= {torch.float32, torch.int64}
    a, b = seen
    assert a == pytest.approx(b, rel=0.05)
    assert a != b


def test_a_line_of_metrics_is_the_mean_since_the_line_before(
    toy: ModuleType, tmp_path: Path
) -> None:
    toy.run_toy(tmp_path / "each", steps=5, log_every=1)
    toy.run_toy(tmp_path / "third", steps=5, log_every=3)
    each, third = metrics(tmp_path / "each"), metrics(tmp_path / "third")
    assert [line["step"] for line in third] == [3, 5]
    for name in ("loss", "arm", "gripper"):
        values = [line[name] for line in each]
        expected = [sum(values[:3]) / 3, sum(values[3:]) / 2]
        assert [line[name] for line in third] == pytest.approx(expected)


def test_flops_are_counted_by_hand(tmp_path: Path) -> None:
    """Backward of a layer is twice its forward, but the first needs no gradient of its input."""

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(10, 20), torch.nn.Linear(20, 5)

        def loss(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"loss": self.b(self.a(batch.image)).square().mean()}

    class Rows:
        image = torch.ones(6, 10)

        def __len__(self) -> int:
            return 6

        def to(self, device: torch.device) -> "Rows":
            return self

    loop.train(
        Line(), lambda start: iter(Rows, None), config=TrainConfig(steps=1), folder=tmp_path,
        description={},
    )  # fmt: skip
    state = json.loads((tmp_path / "training_state/step-00000001/state.json").read_text())
    assert state["flops_per_sample"] == 2 * (10 * 20 * 2 + 20 * 5 * 3)


# Resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_two_and_two_steps_are_four(toy: ModuleType, tmp_path: Path, precision: str) -> None:
    settings = {"precision": precision, "steps": 4, "log_every": 3, "learning_rate": 0.01}
    toy.run_toy(tmp_path / "once", **settings)
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path / "twice", spoil=toy.press_ctrl_c(at=1), **settings)
    torch.manual_seed(1234)  # nothing may depend on what ran before
    result, _ = toy.run_toy(tmp_path / "twice", resume=True, **settings)
    assert result.steps == 4
    assert [line["step"] for line in metrics(tmp_path / "twice")] == [3, 4]
    assert_same_run(tmp_path / "once", tmp_path / "twice")


def test_each_step_draws_anew(toy: ModuleType, tmp_path: Path) -> None:
    """Dropout that drew the same at each step would pass the test above."""
    policy = {"dropout": 0.5}
    still = {"learning_rate": 1e-12, "precision": "fp32", "steps": 3}

    def same_batch(step: int, batch: Any) -> None:
        batch.image.fill_(1.0)
        batch.action.fill_(1.0)

    toy.run_toy(tmp_path / "a", policy={**policy, "norm": False}, spoil=same_batch, **still)
    toy.run_toy(tmp_path / "b", policy={**policy, "norm": False}, spoil=same_batch, seed=1, **still)
    assert len(set(losses(tmp_path / "a") + losses(tmp_path / "b"))) == 6


def test_ctrl_c_saves_and_says_how_to_go_on(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path, steps=100, checkpoint_steps=None, spoil=toy.press_ctrl_c(at=4))
    assert [p.name for p in (tmp_path / "training_state").iterdir()] == ["step-00000005"]
    assert "Stopped after step 5; the same command with --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_left_as_it_is(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, so that evaluations of its checkpoint go on."""
    first, _ = toy.run_toy(tmp_path, steps=3)
    before = tensors(tmp_path)
    files = [tmp_path / name for name in ("config.json", "model.safetensors")]
    checkpoint = [file.read_bytes() for file in files]
    monkeypatch.setattr("sys.argv", ["another", "command"])
    again, _ = toy.run_toy(tmp_path, steps=3, resume=True)
    assert (again.steps, again.final_loss) == (3, first.final_loss)
    assert again.samples_per_second == 0
    assert [file.read_bytes() for file in files] == checkpoint
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(tmp_path).items())


def test_steps_may_be_raised_and_not_lowered(toy: ModuleType, tmp_path: Path) -> None:
    toy.run_toy(tmp_path, steps=2)
    with pytest.raises(InputError, match=r"has 2 steps already; --steps .* got 1"):
        toy.run_toy(tmp_path, steps=1, resume=True)
    assert '"steps": 2' in (tmp_path / "config.json").read_text()
    result, _ = toy.run_toy(tmp_path, steps=4, resume=True)
    assert result.steps == 4
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3, 4]


def test_minutes_count_the_time_before(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that ticks by the second: the first part's seconds count in the second part."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(loop, "perf_counter", lambda: float(next(ticks)))
    settings = {"minutes": 0.5, "checkpoint_steps": None, "warmup": 0.0}
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path, spoil=toy.press_ctrl_c(at=9), **settings)
    result, _ = toy.run_toy(tmp_path, resume=True, **settings)
    assert result.steps == 30
    assert result.seconds == 30
    rates = [line["learning_rate"] for line in metrics(tmp_path)]
    expected = [1e-3 * warmup_cosine(t / 30, warmup=0.0, final=0.0) for t in range(30)]
    assert rates == pytest.approx(expected)


# What is refused, and failures ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--steps or for --minutes, .* got neither"),
        ({"steps": 1, "minutes": 1.0}, "--steps or for --minutes, .* got both"),
        ({"steps": 0}, "--steps must be above 0; got 0"),
        ({"steps": 1, "learning_rate": -1.0}, "--training.learning-rate must be above 0; got -1.0"),
        (
            {"steps": 1, "gradient_clip": math.nan},
            "--training.gradient-clip must be above 0; got nan",
        ),
        ({"steps": 1, "warmup": 1.0}, r"--training.warmup must be in \[0, 1\); got 1.0"),
        ({"steps": 1, "ema_decay": 1.5}, r"--training.ema-decay must be in \[0, 1\); got 1.5"),
        (
            {"steps": 1, "weight_decay": -0.1},
            "--training.weight-decay must be at least 0; got -0.1",
        ),
        ({"steps": 1, "seed": -1}, "--training.seed must be at least 0; got -1"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(
    toy: ModuleType, tmp_path: Path, value: float
) -> None:
    def spoil(step: int, batch: Any) -> None:
        if step == 5:
            batch.action[0, 0] = value

    settings = {"steps": 10, "checkpoint_steps": 2}
    message = rf"loss is {value} at step 6 \(batch 5, .* keeps the checkpoint of step 4"
    with pytest.raises(InputError, match=message):
        toy.run_toy(tmp_path, spoil=spoil, **settings)
    assert all(torch.isfinite(tensor).all() for tensor in tensors(tmp_path).values())
    result, _ = toy.run_toy(tmp_path, resume=True, **settings)
    assert result.steps == 10


def test_a_gradient_that_is_no_number_stops_the_run(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = toy.ToyPolicy.loss

    def loss(self: Any, batch: Any) -> dict[str, torch.Tensor]:
        found = plain(self, batch)
        # The root of 0 is 0, its slope is not finite.
        return {**found, "loss": found["loss"] + (found["loss"] * 0).sqrt()}

    monkeypatch.setattr(toy.ToyPolicy, "loss", loss)
    with pytest.raises(InputError, match=r"gradient's norm is nan at step 1 .*no checkpoint yet"):
        toy.run_toy(tmp_path, steps=3)


def test_refuses_deepspeed(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = property(lambda _: loop.DistributedType.DEEPSPEED)
    monkeypatch.setattr(loop.Accelerator, "distributed_type", kind)
    with pytest.raises(InputError, match=r"under DeepSpeed .* by FSDP"):
        toy.run_toy(tmp_path, steps=1)


# Several processes ---------------------------------------------------------------------------


def run_two_processes(toy: ModuleType, folder: Path, **arguments: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = json.dumps({"folder": str(folder), **arguments})
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, toy.__file__, text],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_two_processes_are_one(toy: ModuleType, tmp_path: Path) -> None:
    """The same global batch gives the same losses and weights, a weight without use included.

    The two go on from a checkpoint of one: states are whole tensors, however many share the work.
    """
    # Without running statistics and dropout, which are of each process's own half.
    policy = {"norm": False, "dropout": 0.0, "unused": True}
    settings = {"steps": 6, "precision": "fp32", "learning_rate": 0.01, "policy": policy}
    toy.run_toy(tmp_path / "one", **settings)
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path / "two", spoil=toy.press_ctrl_c(at=1), **settings)
    run_two_processes(toy, tmp_path / "two", resume=True, **settings)
    assert [line["step"] for line in metrics(tmp_path / "two")] == [1, 2, 3, 4, 5, 6]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    for name in set(two) - set(one):  # a resumed optimizer also has zeros for the unused weight
        assert name.endswith("unused"), name
    torch.testing.assert_close({n: two[n] for n in one}, one, rtol=1e-4, atol=1e-6)
