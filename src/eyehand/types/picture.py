"""Pictures with labels, as data rooms hand them to training."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class PictureBatch:
    """Pictures and what they show: of the whole picture, or of every pixel."""

    image: UInt8[Tensor, "batch height width channel"]
    label: Int64[Tensor, " batch *place"]
    """Number of the class; ``place`` is empty, or height and width."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.image)

    def to(self, device: torch.device) -> "PictureBatch":
        """Return the batch with its tensors on ``device``."""
        return PictureBatch(self.image.to(device), self.label.to(device))
