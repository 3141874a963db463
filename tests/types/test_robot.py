"""The contracts: a batch goes to a device whole."""

from dataclasses import fields

import pytest
import torch

from eyehand.types import Batch


@pytest.mark.parametrize("landmarks", [None, torch.zeros(2, 3, 4, 3)])
def test_every_tensor_of_a_batch_goes_to_the_device(landmarks: torch.Tensor | None) -> None:
    batch = Batch(
        image={"top": torch.zeros(2, 3, 8, 8, 3, dtype=torch.uint8)},
        state=torch.zeros(2, 3, 4),
        action=torch.zeros(2, 3, 5, 4),
        action_mask=torch.ones(2, 3, 5, dtype=torch.bool),
        history_mask=torch.ones(2, 3, dtype=torch.bool),
        instruction=["one", "two"],
        landmarks=landmarks,
    )
    moved = batch.to(torch.device("meta"))
    assert moved.image["top"].device.type == "meta"
    assert list(moved.instruction) == ["one", "two"]
    for field in fields(Batch):
        value, before = getattr(moved, field.name), getattr(batch, field.name)
        if isinstance(before, torch.Tensor):
            assert value.device.type == "meta"
            assert (value.shape, value.dtype) == (before.shape, before.dtype)
    assert (moved.landmarks is None) == (landmarks is None)
