"""Latency is of one robot on one core; passes are counted where they happen."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from eyehand.evaluation.latency import WARM_UP, measure_latency, passes_per_call
from eyehand.types import Batch, Observation


class Stepping(nn.Module):
    """Runs its layer as often as the state says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
        self.other = nn.Identity()
        self.threads: list[int] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def act(self, observation: Observation) -> Tensor:
        self.threads.append(torch.get_num_threads())
        for _ in range(int(observation.state[0, 0])):
            self.layer(observation.state)
        return self.other(observation.state)

    def reset(self, env_ids: Sequence[int]) -> None:
        raise NotImplementedError


def seen(steps: float) -> Observation:
    return Observation({}, torch.full((1, 1), float(steps)), ["go"], env_ids=[0])


def test_one_core_while_it_is_timed_and_as_many_as_before_after() -> None:
    policy, before = Stepping(), torch.get_num_threads()
    latency = measure_latency(policy, [seen(1)] * (WARM_UP + 5))
    assert 0 < latency.median_ms <= latency.p99_ms
    assert policy.threads == [1] * (WARM_UP + 5)
    assert torch.get_num_threads() == before


def test_without_more_than_the_warm_up_there_is_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="more than 10 observations are needed; got 10"):
        measure_latency(Stepping(), [seen(1)] * WARM_UP)


def test_passes_are_those_of_the_busiest_part_on_average() -> None:
    policy = Stepping()
    assert passes_per_call(policy, policy, [seen(2), seen(5)]) == 3.5
    assert passes_per_call(policy, policy.other, [seen(2)]) == 0  # it has no parts
    assert not policy.layer._forward_hooks
