from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.nn.position import sinusoids
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.heads.denoiser import LONGEST, SHORTEST, TIME_DIM
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.registry import describe_policy, restore_config
from eyehand.types import InputError


def test_it_finds_both_modes(two_modes: Callable[..., Tensor]) -> None:
    config = DiffusionHeadConfig(dim=64, depth=1, training_steps=50)
    chunk = two_modes(config, steps=600, rate=2e-3)
    assert (chunk.abs() - 0.7).abs().mean() < 0.1
    sign = chunk[:, 0, 0].sign()
    assert 16 <= int((sign > 0).sum()) <= 48
    assert (chunk.sign() == sign[:, None, None]).all()  # a chunk is of one mode, not of a mixture


class TrueNoise(nn.Module):
    """The noise in a chunk, if the clean one is known."""

    def __init__(self, clean: Tensor, alpha_bar: Tensor) -> None:
        super().__init__()
        self.clean, self.alpha_bar = clean, alpha_bar

    def forward(self, noisy: Tensor, time: Tensor, _: Tensor) -> Tensor:
        level = self.alpha_bar[(time * len(self.alpha_bar)).round().long()][:, None, None].float()
        return (noisy - level.sqrt() * self.clean) / (1 - level).sqrt()


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_with_the_true_noise_it_arrives_in_any_number_of_steps(steps: int) -> None:
    torch.manual_seed(0)
    head = DiffusionHeadConfig(dim=8, steps=steps).build(3, horizon=4, action_dim=2)
    clean = torch.rand(5, 4, 2) - 0.5
    head.denoiser = TrueNoise(clean, head.alpha_bar)  # type: ignore[assignment]
    chunk = head.act(
        torch.zeros(5, 1, 3), history_mask=torch.ones(5, 1, dtype=torch.bool), seed=torch.arange(5)
    )
    torch.testing.assert_close(chunk, clean, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, r"steps must be 1 to 65,536; got 0"),
        ({"steps": 101}, r"steps must be <= training_steps=100; got 101"),
        ({"depth": 0}, r"depth must be 1 to 256; got 0"),
    ],
)
def test_configs_that_make_no_head_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"DiffusionHeadConfig.{sentence}"):
        DiffusionHeadConfig(**changes)


def test_the_waves_of_the_time_are_told_apart_at_whole_steps() -> None:
    """Each sine and cosine says something of its own: no faster wave looks like a slower one."""
    head = DiffusionHeadConfig(dim=8).build(3, horizon=4, action_dim=2)
    time = torch.arange(100) / 100

    def slow_and_fast(shortest: float) -> Tensor:
        """Return how often each feature changes its direction from step to step, of 98 times."""
        wave = sinusoids(time, dim=TIME_DIM, shortest=shortest, longest=LONGEST)
        return wave.diff(dim=0).sign().diff(dim=0).ne(0).sum(dim=0)[: TIME_DIM // 2]

    turns = slow_and_fast(head.denoiser.shortest)
    assert (turns[:-1] >= turns[1:]).all(), "a faster wave turns more often, if it is not aliased"
    before = slow_and_fast(SHORTEST)
    assert (before[:-1] < before[1:]).any()


def test_a_checkpoint_of_before_keeps_its_waves() -> None:
    old = {"name": "bcz", "head": {"name": "diffusion", "dim": 16}}
    config = restore_config(old)
    assert config.head.shortest_period == SHORTEST  # type: ignore[attr-defined]
    new = restore_config(describe_policy(BCZConfig(head=DiffusionHeadConfig(dim=16))))
    assert new.head.shortest_period is None  # type: ignore[attr-defined]
    head = config.head.build(3, horizon=4, action_dim=2)  # type: ignore[attr-defined]
    assert head.denoiser.shortest == SHORTEST
