"""The battery over every registered head."""

from importlib import import_module
from typing import Any

import pytest
import torch

from eyehand.policies.heads.check import check_head
from eyehand.policies.heads.registry import HEADS


def build(name: str, **changes: Any) -> torch.nn.Module:
    module, attribute = HEADS[name].split(":")
    config = getattr(import_module(module), attribute)(dims=(8, 6), **changes)
    assert config.name == name
    return config.build(7, horizon=3, action_dim=4)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_passes(name: str) -> None:
    torch.manual_seed(0)
    head = build(name, dropout=0.5)
    check_head(head, dim=7, horizon=3, action_dim=4)
    assert head.training
