"""A head that breaks a promise is noticed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from eyehand.policies.heads.check import check_head
from eyehand.policies.heads.mlp import MLPHead, MLPHeadConfig


class Unmasked(MLPHead):
    def loss(self, feature: Tensor, action: Tensor, **masks: Tensor) -> dict[str, Tensor]:
        return super().loss(
            feature, action, **{name: torch.ones_like(mask) for name, mask in masks.items()}
        )


class MeanOfUnmasked(MLPHead):
    def loss(self, feature: Tensor, action: Tensor, **masks: Tensor) -> dict[str, Tensor]:
        share = (masks["action_mask"] & masks["history_mask"][..., None]).float().mean()
        return {"loss": super().loss(feature, action, **masks)["loss"] / share}


class RowsMixed(MLPHead):
    def act(self, feature: Tensor, **masks: Tensor) -> Tensor:
        return super().act(feature + feature[:1], **masks)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Unmasked, "padding changes the loss"),
        (MeanOfUnmasked, "the mean over two processes is not the loss"),
        (RowsMixed, "padding changes the act|rows depend on order"),
    ],
)
def test_a_broken_promise_is_noticed(kind: Any, sentence: str) -> None:
    head = kind(7, config=MLPHeadConfig(dims=(8,)), horizon=3, action_dim=4)
    with pytest.raises(AssertionError, match=sentence):
        check_head(head, dim=7, horizon=3, action_dim=4)
