"""Returns by their definitions, by each other, and with the two masks told apart."""

import pytest
import torch
from torch import Tensor

from eyehand.functional.returns import discounted_return, gae, lambda_return, n_step_return

DISCOUNT = 0.9
EXACT = {"rtol": 0, "atol": 1e-12}
NO = torch.zeros(1, dtype=torch.bool)


def experience(seed: int, *batch: int, time: int = 12) -> dict[str, Tensor]:
    """Steps of which some end their episode and some are cut short."""
    random = torch.Generator().manual_seed(seed)
    shape = (time, *batch)
    draw = torch.rand(shape, generator=random)
    return {
        "reward": torch.randn(shape, dtype=torch.float64, generator=random),
        "next_value": torch.randn(shape, dtype=torch.float64, generator=random),
        "terminated": draw < 0.15,
        "truncated": (draw > 0.1) & (draw < 0.3),  # some are both
    }


def by_definition(steps: dict[str, Tensor], n: int) -> Tensor:
    """The sum of at most n rewards, written out; one environment."""
    reward, next_value = steps["reward"].tolist(), steps["next_value"].tolist()
    terminated, truncated = steps["terminated"].tolist(), steps["truncated"].tolist()
    totals = []
    for first in range(len(reward)):
        total, moment = 0.0, first
        while True:
            total += DISCOUNT ** (moment - first) * reward[moment]
            if terminated[moment]:
                break
            if truncated[moment] or moment - first + 1 == n or moment + 1 == len(reward):
                total += DISCOUNT ** (moment - first + 1) * next_value[moment]
                break
            moment += 1
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", range(4))
def test_n_steps_are_as_defined(n: int, seed: int) -> None:
    steps = experience(seed)
    got = n_step_return(**steps, discount=DISCOUNT, steps=n)
    torch.testing.assert_close(got, by_definition(steps, n), **EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_all_steps_are_the_discounted_return(seed: int) -> None:
    steps = experience(seed)
    got = discounted_return(**steps, discount=DISCOUNT)
    torch.testing.assert_close(got, by_definition(steps, 40), **EXACT)


@pytest.mark.parametrize("trace", [0.0, 0.3, 0.95, 1.0])
def test_the_trace_weighs_all_n_step_returns(trace: float) -> None:
    steps = experience(0, 2)
    wanted = trace**12 * n_step_return(**steps, discount=DISCOUNT, steps=12)
    for n in range(1, 13):
        part = n_step_return(**steps, discount=DISCOUNT, steps=n)
        wanted += (1 - trace) * trace ** (n - 1) * part
    got = lambda_return(**steps, discount=DISCOUNT, trace=trace)
    torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("trace", [0.0, 0.95, 1.0])
def test_an_advantage_is_a_return_less_the_value(trace: float) -> None:
    steps = experience(1, 3)
    goes_on = ~(steps["terminated"] | steps["truncated"])[:-1]
    value = torch.randn(12, 3, dtype=torch.float64)
    # The next state of a step that goes on is the state of the next step.
    following = torch.where(goes_on, value[1:], steps["next_value"][:-1])
    steps["next_value"] = torch.cat([following, steps["next_value"][-1:]])
    got = gae(**steps, value=value, discount=DISCOUNT, trace=trace)
    wanted = lambda_return(**steps, discount=DISCOUNT, trace=trace) - value
    torch.testing.assert_close(got, wanted, **EXACT)


def test_advantages_worked_by_hand() -> None:
    # The surprises are 1 + 0.5 * 4 - 2 = 1 and 2 - 3 = -1; the first carries half of half of it.
    got = gae(
        torch.tensor([1.0, 2.0]),
        torch.tensor([2.0, 3.0]),
        torch.tensor([4.0, 9.0]),
        torch.tensor([False, True]),
        torch.tensor([False, False]),
        discount=0.5,
        trace=0.5,
    )
    torch.testing.assert_close(got, torch.tensor([0.75, -1.0]))


def test_reward_forever_keeps_its_worth_where_an_episode_is_cut_short() -> None:
    """And visibly loses it where being cut short is taken for the end."""
    one = torch.ones(20, dtype=torch.float64)
    worth = one / (1 - DISCOUNT)
    no, cut = torch.zeros(20, dtype=torch.bool), torch.arange(20) % 5 == 4
    for trace in (0.0, 0.5, 1.0):
        right = lambda_return(one, worth, no, cut, discount=DISCOUNT, trace=trace)
        torch.testing.assert_close(right, worth, **EXACT)
        advantage = gae(one, worth, worth, no, cut, discount=DISCOUNT, trace=trace)
        torch.testing.assert_close(advantage, 0 * one, **EXACT)
        wrong = lambda_return(one, worth, cut, no, discount=DISCOUNT, trace=trace)
        assert wrong.min() < 0.2 * worth[0]


def test_nothing_passes_from_one_episode_into_the_one_before() -> None:
    steps = experience(2)
    steps["truncated"][5] = True
    before = discounted_return(**steps, discount=DISCOUNT)[:6]
    steps["reward"][6:] += 100
    steps["next_value"][6:] += 100
    after = discounted_return(**steps, discount=DISCOUNT)[:6]
    torch.testing.assert_close(before, after, **EXACT)


def test_a_value_after_the_end_is_not_read() -> None:
    ended = torch.tensor([False, True])
    value = torch.tensor([1.0, torch.nan])
    for trace in (0.5, 1.0):
        got = lambda_return(torch.ones(2), value, ended, ~ended & NO, discount=0.9, trace=trace)
        assert got.isfinite().all()


def test_environments_are_independent_and_types_and_inputs_stay() -> None:
    steps = experience(3, 2, 3)
    kept = {name: part.clone() for name, part in steps.items()}
    value = torch.randn(12, 2, 3, dtype=torch.float64)
    whole = gae(**steps, value=value, discount=DISCOUNT, trace=0.5)
    alone = {name: part[:, 1, 2] for name, part in steps.items()}
    single = gae(**alone, value=value[:, 1, 2], discount=DISCOUNT, trace=0.5)
    torch.testing.assert_close(whole[:, 1, 2], single, **EXACT)
    for name, part in steps.items():
        assert torch.equal(part, kept[name])
    small = {n: p.float() if p.is_floating_point() else p for n, p in steps.items()}
    assert n_step_return(**small, discount=DISCOUNT, steps=3).dtype == torch.float32
    assert gae(**small, value=value.float(), discount=DISCOUNT, trace=0.5).dtype == torch.float32


def test_gradients_reach_the_values() -> None:
    steps = experience(4)
    value = steps["next_value"].requires_grad_()
    lambda_return(**steps, discount=DISCOUNT, trace=0.5).sum().backward()
    assert value.grad is not None
    assert ((value.grad == 0) == steps["terminated"]).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"discount": 1.1, "trace": 0.5}, r"`discount` must lie in \[0, 1\]. Got 1.1"),
        ({"discount": 0.5, "trace": -0.1}, r"`trace` must lie in \[0, 1\]. Got -0.1"),
        ({"discount": float("nan"), "trace": 0.5}, "Got nan"),
    ],
)
def test_shares_out_of_range_are_refused(settings: dict[str, float], said: str) -> None:
    steps = experience(0)
    with pytest.raises(ValueError, match=said):
        lambda_return(**steps, **settings)
    with pytest.raises(ValueError, match=said):
        gae(**steps, value=steps["reward"], **settings)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1. Got 0"):
        n_step_return(**experience(0), discount=0.9, steps=0)
