"""A2C keeps the contract of updates and learns what it must, for both kinds of actions."""

from collections.abc import Callable

import pytest

from eyehand.rl.a2c import A2C, A2CConfig

SMALL = A2CConfig(dims=(16,), learning_rate=2e-2, steps=32, discount=0.0)


@pytest.mark.parametrize("discrete", [True, False])
def test_the_contract_of_updates_is_kept(
    discrete: bool, check_contract: Callable[..., None]
) -> None:
    check_contract(A2C, SMALL, discrete=discrete, steps=4)


@pytest.mark.parametrize(("discrete", "reached"), [(True, 6.8), (False, 5.6)])
def test_it_learns_what_it_must(
    discrete: bool, reached: float, learn: Callable[..., tuple[float, float]]
) -> None:
    """A Gaussian keeps some of its noise."""
    first, last = learn(A2C, SMALL, discrete=discrete, steps=120)
    assert first < 5.8
    assert last > reached
