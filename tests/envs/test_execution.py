"""Which actions of a chunk are executed: the newest, or a mean worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from eyehand.envs.execution import Execution, Plan
from eyehand.types import InputError


def planned(chunks: Sequence[Tensor], execution: Execution) -> np.ndarray:
    plan, done = Plan(execution, action_dim=4), list[np.ndarray]()
    for chunk in chunks:
        done += list(plan.next_actions(chunk, step=len(done)))
    return np.stack(done)


def test_without_ensembling_the_newest_chunk_is_taken() -> None:
    chunks = [torch.full((3, 4), value) for value in (0.1, 0.2, 7.0)]
    got = planned(chunks, Execution(steps=2))
    np.testing.assert_allclose(got[:, 0], [0.1, 0.1, 0.2, 0.2, 1, 1])  # the last is clipped


def test_ensembling_by_hand() -> None:
    """Plans of three steps, made at steps 0, 1, 2, 3, with weights 1, 1/2, 1/4 from the oldest."""
    values = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [-0.2, 0, 0]])
    chunks = [plan[:, None].expand(3, 4) for plan in values]
    got = planned(chunks, Execution(steps=1, temporal_ensembling=float(np.log(2))))
    want = [
        0.1,
        (0.2 + 0.4 / 2) / 1.5,
        (0.3 + 0.5 / 2 + 0.7 / 4) / 1.75,
        (0.6 + 0.8 / 2 - 0.2 / 4) / 1.75,  # the first plan is used up
    ]
    np.testing.assert_allclose(got[:, 0], want, atol=1e-6)


def test_ensembling_every_two_steps() -> None:
    chunks = [torch.full((3, 4), 0.3), torch.full((3, 4), 0.6)]
    got = planned(chunks, Execution(steps=2, temporal_ensembling=0.0))
    np.testing.assert_allclose(got[:, 0], [0.3, 0.3, 0.45, 0.6], atol=1e-6)


def test_chunks_that_cannot_be_executed_are_refused() -> None:
    plan = Plan(Execution(steps=4), action_dim=4)
    with pytest.raises(InputError, match=r"plans 2 actions of 4 numbers; at least 4"):
        plan.next_actions(torch.zeros(2, 4), step=0)
    with pytest.raises(InputError, match=r"plans 8 actions of 7 numbers"):
        plan.next_actions(torch.zeros(8, 7), step=0)
    with pytest.raises(InputError, match=r"not finite at step 3"):
        plan.next_actions(torch.full((8, 4), torch.nan), step=3)


def test_an_execution_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"--execution\.steps must be 1 to 1,000; got 0"):
        Execution(steps=0)
    with pytest.raises(InputError, match=r"ensembling must be 0 to .*; got -0\.5"):
        Execution(temporal_ensembling=-0.5)
