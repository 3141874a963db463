"""SAC keeps the contract of updates, learns what it must, and refuses the other actions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eyehand.functional.squashed_gaussian import sample_squashed
from eyehand.rl.experience import Experience
from eyehand.rl.sac import SAC, SACConfig
from eyehand.types import InputError

SMALL = SACConfig(
    dims=(16,),
    learning_rate=1e-2,
    first=32,
    minibatch=32,
    buffer=500,
    discount=0.0,
    follow=0.05,
    temperature=0.1,
)


def test_the_contract_of_updates_is_kept(check_contract: Callable[..., None]) -> None:
    check_contract(SAC, SMALL, discrete=False, steps=30)


def test_it_learns_what_it_must(learn: Callable[..., tuple[float, float]]) -> None:
    first, last = learn(SAC, SMALL, discrete=False, steps=400)
    assert first < 5.8
    assert last > 6.8


def test_the_wrong_kind_of_action_is_refused_in_a_sentence(make_update: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="SAC needs actions that are"):
        make_update(SAC, SMALL, discrete=True)


def test_what_follows_counts_unless_the_task_ended(
    make_update: Callable[..., Any],
) -> None:
    """A row that goes on, one that was cut short, and one that ended."""
    update = make_update(SAC, SACConfig(dims=(16,), discount=0.5, temperature=0.4), discrete=False)
    ends = [False, False, True]
    part = Experience(
        torch.zeros(3, 2), torch.zeros(3, 1), torch.ones(3), torch.full((3, 2), 0.3),
        torch.tensor(ends), torch.tensor([False, True, False]),
    )  # fmt: skip
    with torch.no_grad():
        torch.manual_seed(0)
        action, log_prob = sample_squashed(*update.policy(part.next_observation))
        value = update.target_critic(part.next_observation, action).amin(dim=0) - 0.4 * log_prob
    torch.manual_seed(0)
    found = update.wanted(part)
    torch.testing.assert_close(
        found, torch.tensor([1.0, 1.0, 1.0]) + 0.5 * value * ~torch.tensor(ends)
    )
