"""Operators are timed in both types; here the clock is replaced."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eyehand.inspection import slow_activations
from eyehand.inspection.costs import measure_costs
from eyehand.inspection.nested import tensors


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`tanh` takes three times as long in bf16, everything else a tenth longer: that is noise."""
    timed: list[str] = []

    def seconds(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        name = func._schema.name
        timed.append(name)
        half = next(tensors(args)).dtype == torch.bfloat16
        return 10.0 * ((3.0 if name == "aten::tanh" else 1.1) if half else 1.0)

    monkeypatch.setattr(slow_activations, "seconds", seconds)
    return timed


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.gate = nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(F.relu(self.stem(x)))


def test_only_what_is_slower_is_told_with_both_times(clock: list[str]) -> None:
    found = measure_costs(Net(), (torch.randn(8, 3, 16, 16),), precision="bf16", repeats=1)
    (finding,) = (one for one in found.findings if one.name == "Slower in bf16")
    (place,) = finding.places
    assert place.layer == "gate"
    assert "`tanh` on 8x8x16x16 (forward pass)" in place.text
    assert "30000.00 ms in bf16" in place.text
    assert "10000.00 ms in fp32" in place.text
    assert {"aten::relu", "aten::threshold_backward", "aten::tanh_backward"} <= set(clock)


def test_small_and_fp32_operators_are_not_timed(clock: list[str]) -> None:
    measure_costs(Net(), (torch.randn(1, 3, 8, 8),), precision="bf16", repeats=1)
    measure_costs(Net(), (torch.randn(8, 3, 16, 16),), repeats=1)
    assert clock == []


def test_an_in_place_operator_is_timed_on_copies() -> None:
    x = torch.linspace(-1, 1, 20_000)
    assert slow_activations.seconds(torch.ops.aten.relu_.default, (x,), {}) > 0
    assert x.min() == -1


def test_what_is_lost_in_a_hundredth_of_the_time_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        return 2e-12 if next(tensors(args)).dtype == torch.bfloat16 else 1e-12

    monkeypatch.setattr(slow_activations, "seconds", seconds)
    found = measure_costs(Net(), (torch.randn(8, 3, 16, 16),), precision="bf16", repeats=1)
    assert {one.verdict for one in found.findings} == {"ok"}
