"""DQN keeps the contract of updates, learns what it must, and refuses the other actions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eyehand.rl.dqn import DQN, DQNConfig
from eyehand.rl.experience import Experience
from eyehand.types import InputError

SMALL = DQNConfig(
    dims=(16,),
    learning_rate=1e-2,
    first=32,
    minibatch=32,
    buffer=500,
    discount=0.0,
    explore=200,
    copy_every=20,
    dueling=True,
)


def test_the_contract_of_updates_is_kept(check_contract: Callable[..., None]) -> None:
    check_contract(DQN, SMALL, discrete=True, steps=30)


def test_it_learns_what_it_must(learn: Callable[..., tuple[float, float]]) -> None:
    first, last = learn(DQN, SMALL, discrete=True, steps=400)
    assert first < 5.8
    assert last > 6.8


def test_the_wrong_kind_of_action_is_refused_in_a_sentence(make_update: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="DQN needs actions that are"):
        make_update(DQN, SMALL, discrete=False)


def test_what_follows_counts_unless_the_task_ended(
    make_update: Callable[..., Any],
) -> None:
    """A row that goes on, one that was cut short, and one that ended."""
    update = make_update(DQN, DQNConfig(dims=(16,), discount=0.5, double=True), discrete=True)
    ends = [False, False, True]
    part = Experience(
        torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), torch.ones(3), torch.full((3, 2), 0.3),
        torch.tensor(ends), torch.tensor([False, True, False]),
    )  # fmt: skip
    with torch.no_grad():
        for weight in update.target.parameters():  # else it would be the learnt network
            weight.neg_()
        following = update.target(part.next_observation)
        value = following.gather(1, update.network(part.next_observation).argmax(1)[:, None])[:, 0]
    found = update.wanted(part)
    torch.testing.assert_close(
        found, torch.tensor([1.0, 1.0, 1.0]) + 0.5 * value * ~torch.tensor(ends)
    )
