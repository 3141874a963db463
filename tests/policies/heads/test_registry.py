"""The battery over every registered head."""

from typing import Any

import pytest
import torch

from eyehand.policies.bcz import BCZConfig
from eyehand.policies.heads.check import check_head
from eyehand.policies.heads.registry import HEADS
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.types import InputError

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"dims": (8, 6), "dropout": 0.5},
    "mlp_history": {"frames": 4, "dims": (8, 6), "dropout": 0.5},
    "lstm": {"dim": 8, "dims": (8, 6), "dropout": 0.5},
    "gpt": {"dim": 8, "heads": 2, "head_dim": 4},
    "diffusion": {"dim": 8, "training_steps": 20, "steps": 4},
    "flow": {"dim": 8, "steps": 4},
    "bins": {"bins": 16, "dim": 8, "heads": 2, "head_dim": 4},
    "fast": {"vocabulary": 64, "dim": 8, "heads": 2, "head_dim": 4},
    "vq": {"codes": 4, "code_dim": 4, "dims": (8, 6)},
}


LEARNING: dict[str, dict[str, Any]] = {
    "mlp": {"dims": (64,)},
    "mlp_history": {"dims": (64,)},
    "lstm": {"dim": 32, "dims": (32,), "dropout": 0.0},
    "gpt": {"dim": 32, "heads": 2, "head_dim": 16},
}
"""Large enough to learn two chunks. The other heads show it on two modes, in their own tests."""


@pytest.mark.parametrize("name", HEADS)
def test_every_head_passes(name: str) -> None:
    torch.manual_seed(0)
    config = HEADS[name](**SMALL.get(name, {}))
    assert config.name == name
    head = config.build(7, horizon=3, action_dim=4)
    check_head(head, dim=7, horizon=3, action_dim=4)
    assert head.training


@pytest.mark.parametrize("name", HEADS)
def test_every_head_serves_a_robot_without_a_gripper(name: str) -> None:
    """Two numbers that steer, none that closes."""
    torch.manual_seed(0)
    head = HEADS[name](**SMALL.get(name, {})).build(7, horizon=3, action_dim=2, gripper=0)
    check_head(head, dim=7, horizon=3, action_dim=2)
    masks = {"action_mask": torch.ones(1, 2, 3).bool(), "history_mask": torch.ones(1, 2).bool()}
    assert "gripper" not in head.loss(torch.zeros(1, 2, 7), torch.zeros(1, 2, 3, 2), **masks)


@pytest.mark.parametrize("name", LEARNING)
def test_a_head_that_regresses_learns_what_it_was_shown(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](**LEARNING[name]).build(5, horizon=4, action_dim=3)
    copies = 4
    feature = torch.eye(5)[:2, None].repeat(copies, 1, 1)
    action = torch.tensor([[0.5, -0.4, 1.0], [-0.7, 0.2, -1.0]])[:, None, None].expand(-1, 1, 4, 3)
    action = action.repeat(copies, 1, 1, 1)
    masks = {
        "action_mask": torch.ones(2 * copies, 1, 4, dtype=torch.bool),
        "history_mask": torch.ones(2 * copies, 1, dtype=torch.bool),
    }
    head.fit(action[:, 0])
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(feature, action, **masks)["loss"].backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        seed = torch.arange(2 * copies)
        got = head.act(feature, history_mask=masks["history_mask"], seed=seed)
    assert (got - action[:, 0]).abs().mean() < 0.15


@pytest.mark.parametrize("name", [name for name, config in HEADS.items() if config.needs_history])
@pytest.mark.parametrize("policy", [BCZConfig, RoboFlamingoConfig])
def test_a_head_with_memory_is_not_shown_single_frames(policy: Any, name: str) -> None:
    with pytest.raises(InputError, match=rf"the head '{name}' reads a history .*\.history is 1"):
        policy(history=1, head=HEADS[name]())
    policy(history=2, head=HEADS[name]())
