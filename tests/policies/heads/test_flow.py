from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eyehand.functional.noise import euler
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.types import InputError


def test_it_finds_both_modes(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(FlowHeadConfig(dim=64))
    assert (chunk.abs() - 0.7).abs().mean() < 0.1
    sign = chunk[:, 0, 0].sign()
    assert 16 <= int((sign > 0).sum()) <= 48
    assert (chunk.sign() == sign[:, None, None]).all()


class Straight(nn.Module):
    """The velocity of straight paths that all end at one chunk."""

    def __init__(self, end: Tensor) -> None:
        super().__init__()
        self.end = end

    def forward(self, point: Tensor, time: Tensor, _: Tensor) -> Tensor:
        return (self.end - point) / (1 - time[:, None, None])


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_linear_flow_is_followed_exactly_in_any_number_of_steps(steps: int) -> None:
    head = FlowHeadConfig(dim=8, steps=steps).build(3, horizon=4, action_dim=2)
    end = torch.rand(5, 4, 2) - 0.5
    head.denoiser = Straight(end)  # type: ignore[assignment]
    chunk = head.act(
        torch.zeros(5, 1, 3), history_mask=torch.ones(5, 1, dtype=torch.bool), seed=torch.arange(5)
    )
    torch.testing.assert_close(chunk, end, rtol=0, atol=1e-5)


def test_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match=r"FlowHeadConfig\.steps must be 1 to 65,536; got 0"):
        FlowHeadConfig(steps=0)


def test_a_path_has_the_probability_of_its_steps() -> None:
    """Held against torch's Gaussians; without noise a path is Euler's."""
    torch.manual_seed(0)
    head = FlowHeadConfig(steps=4, dim=8, depth=1).build(3, horizon=2, action_dim=2).eval()
    feature, mask = torch.randn(5, 1, 3), torch.ones(5, 1, dtype=torch.bool)
    told = {"history_mask": mask, "randomness": 0.6}
    with torch.no_grad():
        chunk, path = head.draw(feature, seed=torch.arange(5), **told)
        executed = torch.tensor([[True, False]]).expand(5, 2)
        found = head.log_prob(feature, path, executed=executed, **told)
        total = torch.zeros(5)
        for step in range(4):
            time = step / 4
            velocity = head.denoiser(path[:, step], torch.full((5,), time), feature[:, 0])
            noise = path[:, step] - time * velocity
            mean = path[:, step] + (velocity - 0.5 * 0.6**2 * noise) / 4
            step_of = torch.distributions.Normal(mean, 0.6 * ((1 - time) / 4) ** 0.5)
            every = step_of.log_prob(path[:, step + 1]).sum(dim=-1)
            # What is not executed has an influence until the last step.
            total += every[:, 0] if step == 3 else every.sum(dim=-1)
        _, still = head.draw(feature, history_mask=mask, seed=torch.arange(5), randomness=1e-9)
        end = euler(lambda p, t: head.denoiser(p, t, feature[:, 0]), still[:, 0], steps=4)
    torch.testing.assert_close(found, total)
    assert torch.equal(chunk, path[:, -1].clamp(-1, 1))
    torch.testing.assert_close(still[:, -1], end)
