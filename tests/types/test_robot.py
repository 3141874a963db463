"""The contracts: a batch goes to a device whole."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from eyehand.types import Batch, Episode


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
        extra={"reward": torch.zeros(2, 7), "image.top": torch.zeros(2, 1, 8, 8, 3).byte()},
        extra_mask={"reward": torch.ones(2, 7).bool(), "image.top": torch.ones(2, 1).bool()},
    )
    moved = batch.to(torch.device("meta"))
    for name in ("image", "extra", "extra_mask"):
        before = getattr(batch, name)
        assert getattr(moved, name).keys() == before.keys()
        for key, value in getattr(moved, name).items():
            assert value.device.type == "meta"
            assert (value.shape, value.dtype) == (before[key].shape, before[key].dtype)
    assert list(moved.instruction) == ["one", "two"]
    for field in fields(Batch):
        value, before = getattr(moved, field.name), getattr(batch, field.name)
        if isinstance(before, torch.Tensor):
            assert value.device.type == "meta"
            assert (value.shape, value.dtype) == (before.shape, before.dtype)
    assert (moved.landmarks is None) == (landmarks is None)


def test_an_episode_is_as_long_as_its_frames() -> None:
    """Plain video, too, whose state has no numbers."""
    nothing = np.zeros((5, 0), np.float32)
    film = np.zeros((5, 8, 8, 3), np.uint8)
    assert len(Episode({"top": film}, nothing, nothing, "", task="", seed=0)) == 5
