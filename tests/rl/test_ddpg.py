"""DDPG keeps the contract of updates, learns what it must, and refuses the other actions."""

from collections.abc import Callable
from typing import Any

import pytest

from eyehand.rl.ddpg import DDPG, DDPGConfig
from eyehand.types import InputError

SMALL = DDPGConfig(
    dims=(16,),
    learning_rate=1e-2,
    first=32,
    minibatch=32,
    buffer=500,
    discount=0.0,
    follow=0.05,
    noise=0.1,
)


def test_the_contract_of_updates_is_kept(check_contract: Callable[..., None]) -> None:
    check_contract(DDPG, SMALL, discrete=False, steps=30)


def test_it_learns_what_it_must(learn: Callable[..., tuple[float, float]]) -> None:
    first, last = learn(DDPG, SMALL, discrete=False, steps=400)
    assert first < 5.8
    assert last > 6.8


def test_the_wrong_kind_of_action_is_refused_in_a_sentence(make_update: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="DDPG needs actions that are"):
        make_update(DDPG, SMALL, discrete=True)
