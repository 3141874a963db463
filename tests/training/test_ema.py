import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from eyehand.training.ema import MovingAverage


def wander(module: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_matches_torch(decay: float) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))

    def their_average(average: torch.Tensor, weight: torch.Tensor, count: int) -> torch.Tensor:
        d = min(decay, (1 + count) / (10 + count))
        return d * average + (1 - d) * weight

    theirs = AveragedModel(module, avg_fn=their_average)
    theirs.update_parameters(module)  # the first call copies
    ours = MovingAverage(list(module.parameters()), decay=decay)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 40):
        wander(module, generator)
        ours.update(step)
        theirs.update_parameters(module)
    for mine, other in zip(ours.values, theirs.module.parameters(), strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=1e-5, atol=1e-5)


def test_a_short_run_forgets_its_first_weights() -> None:
    weight = nn.Parameter(torch.tensor([100.0]))
    average = MovingAverage([weight], decay=0.999)
    weight.data.fill_(1.0)
    for step in range(1, 51):
        average.update(step)
    assert abs(average.values[0].item() - 1) < 1e-3
    assert 0.999**50 * 99 > 90, "a constant decay would still hold the first weights"


def test_applied_exchanges_and_gives_back() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage([weight], decay=0.9)
    weight.data.fill_(0.1)
    with average.applied():
        assert weight.item() == 1.0
    assert weight.item() == torch.tensor(0.1).item()
    assert average.values[0].item() == 1.0


def test_refuses_weights_in_bf16() -> None:
    with pytest.raises(ValueError, match=r"must be float32.*got torch.bfloat16"):
        MovingAverage([nn.Parameter(torch.ones(1, dtype=torch.bfloat16))], decay=0.9)
