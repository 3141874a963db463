"""A choice between two modes, for every head the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

MODE = 0.7
"""Half of the demonstrations do this in every dimension, the other half the opposite."""


@pytest.fixture
def two_modes() -> Callable[..., Tensor]:
    """Return a function that trains a head on the two modes and draws 64 chunks from it."""

    def train(config: Any, *, steps: int = 250, rate: float = 3e-3, falls: bool = True) -> Tensor:
        torch.manual_seed(0)
        head = config.build(2, horizon=4, action_dim=2)
        feature = torch.ones(64, 1, 2)
        side = torch.tensor([MODE, -MODE]).repeat(32)
        action = side[:, None, None, None].expand(64, 1, 4, 2)
        masks = {
            "action_mask": torch.ones(64, 1, 4, dtype=torch.bool),
            "history_mask": torch.ones(64, 1, dtype=torch.bool),
        }
        head.fit(action[:, 0])
        optimizer = torch.optim.Adam(head.parameters(), lr=rate)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = head.loss(feature, action, **masks)["loss"]
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        fell = sum(losses[-20:]) < 0.7 * sum(losses[:20])
        assert fell == falls, f"the loss went from {losses[0]} to {losses[-1]}"
        with torch.no_grad():
            return head.eval().act(
                feature, history_mask=masks["history_mask"], seed=torch.arange(64)
            )

    return train
