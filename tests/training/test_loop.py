"""Whole runs of the toy policy: what is logged, resuming, failures."""

import json
import math
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from eyehand.functional.schedule import warmup_cosine
from eyehand.training import loop
from eyehand.training.config import TrainConfig
from eyehand.training.cycle import Cycle
from eyehand.training.supervised import SupervisedUpdate
from eyehand.types import InputError


def test_the_loss_falls(toy: ModuleType, tmp_path: Path) -> None:
    settings = {"steps": 60, "log_every": 10, "learning_rate": 0.02, "checkpoint_steps": None}
    result, _ = toy.run_toy(tmp_path, **settings)
    curve = toy.losses(tmp_path)
    assert len(curve) == 6
    assert curve[-1] < 0.3 * curve[0]
    assert result.steps == 60
    assert result.final_loss == curve[-1]
    assert result.samples_per_second > 0
    assert result.model_flops_utilisation > 0


def test_a_line_of_metrics_is_the_mean_since_the_line_before(
    toy: ModuleType, tmp_path: Path
) -> None:
    toy.run_toy(tmp_path / "each", steps=5, log_every=1)
    toy.run_toy(tmp_path / "third", steps=5, log_every=3)
    each, third = toy.metrics(tmp_path / "each"), toy.metrics(tmp_path / "third")
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

    config = TrainConfig(steps=1)
    update = SupervisedUpdate(Line(), config)
    source = lambda start: iter(Rows, None)  # noqa: E731
    loop.train(update, source, config=config, folder=tmp_path, description={})
    state = json.loads((tmp_path / "training_state/step-00000001/state.json").read_text())
    assert state["flops_per_sample"] == 2 * (10 * 20 * 2 + 20 * 5 * 3)


# Resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_and_two_steps_are_four(toy: ModuleType, tmp_path: Path, accumulate: int) -> None:
    settings = {"accumulate": accumulate, "steps": 4, "log_every": 3, "learning_rate": 0.01}
    toy.run_toy(tmp_path / "once", **settings)
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path / "twice", spoil=toy.press_ctrl_c(at=2 * accumulate - 1), **settings)
    torch.manual_seed(1234)  # nothing may depend on what ran before
    result, _ = toy.run_toy(tmp_path / "twice", resume=True, **settings)
    assert result.steps == 4
    assert [line["step"] for line in toy.metrics(tmp_path / "twice")] == [3, 4]
    toy.assert_same_run(tmp_path / "once", tmp_path / "twice")


def test_each_step_draws_anew(toy: ModuleType, tmp_path: Path) -> None:
    """Dropout that drew the same at each step would pass the test above."""
    policy = {"dropout": 0.5}
    still = {"learning_rate": 1e-12, "precision": "fp32", "steps": 3}

    def same_batch(step: int, batch: Any) -> None:
        batch.image.fill_(1.0)
        batch.action.fill_(1.0)

    toy.run_toy(tmp_path / "a", policy={**policy, "norm": False}, spoil=same_batch, **still)
    toy.run_toy(tmp_path / "b", policy={**policy, "norm": False}, spoil=same_batch, seed=1, **still)
    assert len(set(toy.losses(tmp_path / "a") + toy.losses(tmp_path / "b"))) == 6


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
    before = toy.tensors(tmp_path)
    files = [tmp_path / name for name in ("config.json", "model.safetensors")]
    checkpoint = [file.read_bytes() for file in files]
    monkeypatch.setattr("sys.argv", ["another", "command"])
    again, _ = toy.run_toy(tmp_path, steps=3, resume=True)
    assert (again.steps, again.final_loss) == (3, first.final_loss)
    assert again.samples_per_second == 0
    assert [file.read_bytes() for file in files] == checkpoint
    assert all(torch.equal(before[name], tensor) for name, tensor in toy.tensors(tmp_path).items())


def test_steps_may_be_raised_and_not_lowered(toy: ModuleType, tmp_path: Path) -> None:
    toy.run_toy(tmp_path, steps=2)
    with pytest.raises(InputError, match=r"has 2 steps already; --steps .* got 1"):
        toy.run_toy(tmp_path, steps=1, resume=True)
    assert '"steps": 2' in (tmp_path / "config.json").read_text()
    result, _ = toy.run_toy(tmp_path, steps=4, resume=True)
    assert result.steps == 4
    assert [line["step"] for line in toy.metrics(tmp_path)] == [1, 2, 3, 4]


def test_a_longer_run_goes_on_at_the_rate_it_had(toy: ModuleType, tmp_path: Path) -> None:
    """From the end at rate 0 it rises anew, over its warm-up, to the peak."""
    toy.run_toy(tmp_path, steps=10, warmup=0.2)
    toy.run_toy(tmp_path, steps=30, warmup=0.2, resume=True)
    toy.run_toy(tmp_path, steps=30, warmup=0.2, resume=True)
    rates = [line["learning_rate"] / 1e-3 for line in toy.metrics(tmp_path)]
    expected = [warmup_cosine((t + 0.5) / 10, warmup=0.2, final=0.0) for t in range(10)]
    expected += [warmup_cosine((t + 0.5) / 20, warmup=0.2, final=0.0) for t in range(20)]
    assert rates == pytest.approx(expected)


def test_threads_are_set_inside_and_given_back(toy: ModuleType, tmp_path: Path) -> None:
    seen = []
    toy.run_toy(tmp_path, steps=1, threads=2, spoil=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [2]
    assert torch.get_num_threads() == 1


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
    rates = [line["learning_rate"] for line in toy.metrics(tmp_path)]
    expected = [1e-3 * warmup_cosine(t / 30, warmup=0.0, final=0.0) for t in range(30)]
    assert rates == pytest.approx(expected)


# What is refused, and failures ---------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run(toy: ModuleType, tmp_path: Path) -> None:
    def spoil(step: int, batch: Any) -> None:
        if step == 5:
            batch.action[0, 0] = math.nan

    settings = {"steps": 10, "checkpoint_steps": 2}
    message = r"loss is nan at step 6 \(batch 5, .* keeps the checkpoint of step 4"
    with pytest.raises(InputError, match=message):
        toy.run_toy(tmp_path, spoil=spoil, **settings)
    assert all(torch.isfinite(tensor).all() for tensor in toy.tensors(tmp_path).values())
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
    with pytest.raises(InputError, match=r"gradient norm is nan at step 1 .*no checkpoint yet"):
        toy.run_toy(tmp_path, steps=3)


def test_weights_that_are_no_numbers_are_never_saved(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of step 3 is finite; its rate is larger than a number of 32 bits can be."""
    toy.run_toy(tmp_path, steps=2, checkpoint_steps=1)
    before = toy.tensors(tmp_path)
    monkeypatch.setattr(Cycle, "share", lambda *_: 1e45)
    message = r"/\S+ is not finite after step 3; .* keeps the checkpoint of step 2\..* lower"
    with pytest.raises(InputError, match=message):
        toy.run_toy(tmp_path, steps=4, checkpoint_steps=1, resume=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in toy.tensors(tmp_path).items())
