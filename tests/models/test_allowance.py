import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from eyehand.models.allowance import Allowance, unlimited
from eyehand.types import InputError

HUGE = 10**9


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(HUGE, HUGE),
        lambda: nn.Conv2d(3, HUGE, 3),
        lambda: nn.LSTM(HUGE, 8),
        lambda: torch.zeros(1000 * HUGE),
        lambda: torch.arange(1000 * HUGE),
        lambda: torch.randn(HUGE, 100),
        lambda: [nn.Linear(1, 1) for _ in range(HUGE)],
    ],
)
def test_what_is_too_large_is_refused_before_the_memory_is_taken(
    make: Callable[[], object],
) -> None:
    begun = time.perf_counter()
    allowance = Allowance(8_000_000, "this")
    with pytest.raises(InputError, match="this would need more than 8 MB"), allowance:
        make()
    assert time.perf_counter() - begun < 5


def test_what_fits_is_as_it_would_be_without() -> None:
    torch.manual_seed(0)
    wanted = nn.Linear(30, 20).state_dict()
    torch.manual_seed(0)
    with Allowance(8_000_000, "it"):
        found = nn.Linear(30, 20).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_all_tensors_count_together_but_those_without_memory() -> None:
    with Allowance(8_000_000, "it") as allowance:
        torch.zeros(1_000_000)
        with torch.device("meta"):
            nn.Linear(10_000, 10_000)
        with unlimited():
            torch.zeros(2_000_000)
        assert allowance.used == 4_000_000
        with pytest.raises(InputError):
            torch.zeros(1_000_001)
