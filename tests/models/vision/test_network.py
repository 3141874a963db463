import pytest
import torch
from torch import Tensor, nn

from eyehand.models.vision.network import FeatureMaps, Images, VisionNetwork


class Tiny(VisionNetwork):
    dims, strides, image_size = (2,), (1,), 4

    def __init__(self, classes: int | None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.last = None if classes is None else nn.Linear(2, classes)

    def forward(self, image: Images) -> Tensor:
        self.check_size(image)
        return self.needed(self.last)(self.maps(image)[0].mean((2, 3)))

    def maps(self, image: Images) -> FeatureMaps:
        return [self.stem(image)]


def test_what_was_left_out_and_other_sizes_are_refused() -> None:
    assert Tiny(5)(torch.zeros(1, 3, 4, 4)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"This Tiny was built with classes=None: only `maps`"):
        Tiny(None)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"pictures of 4x4 pixels; got 4x5\. Scale them"):
        Tiny(5)(torch.zeros(1, 3, 4, 5))
