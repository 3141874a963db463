from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.types import InputError


def test_it_finds_both_modes(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(DiffusionHeadConfig(dim=64, training_steps=50))
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
        ({"steps": 0}, r"steps must be >= 1; got 0"),
        ({"steps": 101}, r"steps must be <= training_steps=100; got 101"),
        ({"depth": 0}, r"depth must be >= 1; got 0"),
    ],
)
def test_configs_that_make_no_head_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"DiffusionHeadConfig.{sentence}"):
        DiffusionHeadConfig(**changes)
