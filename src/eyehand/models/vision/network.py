"""What every network that classifies pictures offers: maps, and logits unless they are left out."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "batch channel height width"]
"""Pictures, scaled as the network was published for."""
Map = Float[Tensor, "batch dim height width"]
"""What a layer in the middle reads."""
Logits = Float[Tensor, "batch classes"]
"""Of every class, before the softmax."""
FeatureMaps = list[Float[Tensor, "batch dim map_height map_width"]]
"""From fine to coarse; ``dim`` and the size differ from map to map."""


class VisionNetwork(nn.Module, ABC):
    """A network with maps, and with last layers unless it was built with ``classes=None``."""

    dims: tuple[int, ...]
    """Channels of the maps."""
    strides: tuple[int, ...]
    """Pixels per cell of the maps."""
    image_size: int
    """Height and width of the pictures, where only one size is read."""

    @abstractmethod
    def forward(self, image: Images) -> Logits | tuple[Logits, ...]:
        """Return the logits of every class; in training those of auxiliary classifiers too."""

    @abstractmethod
    def maps(self, image: Images) -> FeatureMaps:
        """Return the last feature map of each resolution, from fine to coarse."""

    def needed(self, layers: nn.Module | None) -> nn.Module:
        """Return the last layers.

        Raises:
            ValueError: If the network was built without them.
        """
        if layers is None:
            name = type(self).__name__
            raise ValueError(f"This {name} was built with classes=None: only `maps` works.")
        return layers

    def check_size(self, image: Images) -> None:
        """Raise ``ValueError`` if the network was built for pictures of another size."""
        height, width = image.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"This {type(self).__name__} was built for pictures of {self.image_size}x"
                f"{self.image_size} pixels; got {height}x{width}. Scale them, or set `image_size`."
            )
