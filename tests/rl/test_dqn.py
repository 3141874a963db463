"""DQN keeps the contract of updates, learns what it must, and refuses the other actions."""

from collections.abc import Callable
from typing import Any

import pytest

from eyehand.rl.dqn import DQN, DQNConfig
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
    with pytest.raises(InputError, match=r"DQN learns .* actions"):
        make_update(DQN, SMALL, discrete=False)
