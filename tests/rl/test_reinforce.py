"""Reinforce keeps the contract of updates and learns what it must, for both kinds of actions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from eyehand.rl.experience import Turn
from eyehand.rl.reinforce import Reinforce, ReinforceConfig, in_ended_episodes
from eyehand.types import InputError

SMALL = ReinforceConfig(dims=(16,), learning_rate=3e-2, steps=64, discount=0.0)


@pytest.mark.parametrize("discrete", [True, False])
def test_the_contract_of_updates_is_kept(
    discrete: bool, check_contract: Callable[..., None]
) -> None:
    check_contract(Reinforce, SMALL, discrete=discrete, steps=4)


@pytest.mark.parametrize(("discrete", "reached"), [(True, 6.8), (False, 5.6)])
def test_it_learns_what_it_must(
    discrete: bool, reached: float, learn: Callable[..., tuple[float, float]]
) -> None:
    """A Gaussian keeps some of its noise."""
    first, last = learn(Reinforce, SMALL, discrete=discrete, steps=100)
    assert first < 5.8
    assert last > reached


def test_what_never_ends_is_refused(make_update: Callable[..., Any]) -> None:
    update = make_update(Reinforce, ReinforceConfig(dims=(16,), steps=4), discrete=True)
    update.prepare(Accelerator(cpu=True), Turn(4))
    with pytest.raises(InputError, match=r"no episode ended within ReinforceConfig\.steps=4"):
        update.step(Turn(4))


def test_only_steps_of_episodes_that_end_are_learnt_from() -> None:
    ended = torch.tensor([[0, 1], [1, 0], [0, 0]], dtype=torch.bool)
    assert in_ended_episodes(ended).tolist() == [[True, True], [True, False], [False, False]]


def test_a_judgement_by_less_than_all_rewards_is_another_algorithm() -> None:
    with pytest.raises(InputError, match=r"ReinforceConfig\.trace must be 1; got 0\.9"):
        ReinforceConfig(trace=0.9)
