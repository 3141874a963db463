import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eyehand.functional.schedule import warmup_cosine


def test_matches_torch() -> None:
    """The decay is torch's cosine annealing, the warm-up its linear ramp."""
    steps, warmup = 100, 20
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup, eta_min=0.1)
    for step in range(warmup, steps + 1):
        ours = warmup_cosine(step / steps, warmup=warmup / steps, final=0.1)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        cosine.step()


def test_closed_form() -> None:
    assert warmup_cosine(0.0, warmup=0.0, final=0.3) == 1.0
    assert warmup_cosine(0.25, warmup=0.5, final=0.3) == 0.5
    assert warmup_cosine(1.0, warmup=0.5, final=0.3) == pytest.approx(0.3)
    third = warmup_cosine(1 / 3, warmup=0.0, final=0.0)
    assert third == pytest.approx((1 + math.cos(math.pi / 3)) / 2)


shares = st.floats(0, 1)


@given(a=shares, b=shares, warmup=st.floats(0, 0.99), final=shares)
def test_rises_then_falls_within_bounds(a: float, b: float, warmup: float, final: float) -> None:
    a, b = sorted((a, b))
    first, second = (warmup_cosine(p, warmup=warmup, final=final) for p in (a, b))
    assert 0 <= first <= 1
    if b < warmup:
        assert first <= second
    if a >= warmup:
        assert first >= second - 1e-12
        assert second >= final - 1e-12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.2, 0.1, 0.0), "`progress` must be in .* got 1.2"),
        ((0.5, 1.0, 0.0), "`warmup` must be in .* got 1.0"),
        ((0.5, 0.1, -0.5), "`final` must be in .* got -0.5"),
    ],
)
def test_refuses(values: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        warmup_cosine(values[0], warmup=values[1], final=values[2])
