"""The contract on a GAN of numbers: two optimizers in turn, and a state that is handed on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.training.config import TrainConfig
from eyehand.training.learner import Learner
from eyehand.training.loop import train
from eyehand.training.update import Update, check_update


def tower(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1))


class Gan(Update):
    """The generator learns to make what lies in the batch; it moves at every second step."""

    published = "generator/averages/"

    def __init__(self) -> None:
        torch.manual_seed(0)
        maker, judge = tower(2), tower(1)
        self.maker = Learner(
            maker, torch.optim.Adam(maker.parameters(), lr=0.02), average_decay=0.9
        )
        self.judge = Learner(
            judge, torch.optim.SGD(judge.parameters(), lr=0.1, momentum=0.5), gradient_clip=1.0
        )
        self.learners = {"generator": self.maker, "critic": self.judge}
        self.before = torch.zeros(1)
        """Mean of the batch before, which the noise is moved by."""

    def step(self, batch: Any) -> Mapping[str, Tensor | float]:
        real = batch.action[:, :1]
        noise = torch.randn(len(real), 2) + self.before
        self.before = real.mean(dim=0)
        self.judge.zero_grad()
        losses = self.judge(real), self.judge(self.maker(noise).detach())
        loss = nn.functional.softplus(-losses[0]).mean() + nn.functional.softplus(losses[1]).mean()
        self.judge.backward(loss)
        self.judge.step()
        if self.judge.count % 2:
            return {"loss": loss}
        self.maker.zero_grad()
        fooled = nn.functional.softplus(-self.judge(self.maker(noise))).mean()
        self.maker.backward(fooled)
        return {"loss": loss, "fooled": fooled, "gradient_norm": self.maker.step()}

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {"before": self.before.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.before = state["before"].clone()


def test_a_gan_keeps_the_contract(toy: ModuleType) -> None:
    check_update(Gan, toy.toy_batches(), steps=6)


@pytest.mark.parametrize("killed_at", [0, 4])  # before the generator has moved, and after
def test_a_gan_that_was_stopped_ends_as_if_it_had_not(
    toy: ModuleType, tmp_path: Path, killed_at: int
) -> None:
    config = TrainConfig(steps=8, log_every=3, checkpoint_steps=1)

    def go(name: str, *, spoil: Callable[..., None] | None = None, resume: bool = False) -> None:
        batches = toy.toy_batches(spoil=spoil)
        train(Gan(), batches, config=config, folder=tmp_path / name, description={}, resume=resume)

    go("once")
    with pytest.raises(RuntimeError, match="killed"):
        go("twice", spoil=lambda step, _: kill(step, at=killed_at + 1))
    go("twice", resume=True)
    toy.assert_same_run(tmp_path / "once", tmp_path / "twice")
    lines = toy.metrics(tmp_path / "once")
    assert {"loss", "fooled", "gradient_norm"} <= lines[0].keys()
    assert set(toy.tensors(tmp_path / "once")) >= {"p/0.weight", "p/2.bias", "before"}


def kill(step: int, *, at: int) -> None:
    if step == at:
        raise RuntimeError("killed")


class Forgetful(Gan):
    """Loses what it hands on."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        Update.load_state_dict(self, state)


class Still(Gan):
    """Its generator never moves."""

    def step(self, batch: Any) -> Mapping[str, Tensor | float]:
        self.maker.step = lambda: 0.0  # type: ignore[method-assign]
        return super().step(batch)


class Silent(Gan):
    """Names its loss otherwise."""

    def step(self, batch: Any) -> Mapping[str, Tensor | float]:
        return {"critic": super().step(batch)["loss"]}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgetful, "differs after going on from a state"),
        (Still, "no weight of learner 'generator' moved in 3 steps"),
        (Silent, "step returns critic; `loss` must be among them"),
    ],
)
def test_a_broken_update_is_told_apart(toy: ModuleType, broken: type[Update], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_update(broken, toy.toy_batches(), steps=6)
