"""A batch of pictures, with one label a picture or one a pixel."""

import pytest
import torch

from eyehand.types.picture import PictureBatch


@pytest.mark.parametrize("place", [(), (4, 5)], ids=["a picture", "a pixel"])
def test_a_batch_keeps_its_pictures_and_labels_on_the_way_to_a_device(
    place: tuple[int, ...],
) -> None:
    image = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)
    label = torch.randint(0, 10, (3, *place))
    moved = PictureBatch(image, label).to(torch.device("meta"))
    assert len(moved) == 3
    assert moved.image.device.type == moved.label.device.type == "meta"
    assert moved.label.shape == label.shape
    there = PictureBatch(image, label).to(torch.device("cpu"))
    assert torch.equal(there.image, image)
    assert torch.equal(there.label, label)
